// Package logs delivers lines of logs to a function, as CloudWatch Logs does with a
// subscription filter
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html#LambdaFunctionExample).
//
// The model: a [Deliverer] has log groups. A line that is written to one is an event with
// an id and a time, and goes into a batch of that group: a file in the spool's directory.
// A batch is closed when it is old or full; from then on it never changes. It is sent as
// one event, gzipped and in base64, and sent again until the function has succeeded; then
// its file is removed.
//
// Promises:
//
//   - A line is in the spool when Write returns, and so it is delivered although this
//     program is killed a moment later: a later Open finds the file. (The system's crash is
//     another matter: nothing waits for the disk.)
//   - Each line is delivered at least once. A batch that is sent again, after a failure or
//     after a restart, is the same in every byte that counts: its lines, their order, their
//     ids, their times.
//   - Batches are sent in no order, some of them at the same time, and one that fails holds
//     up no other: as in AWS.
//
// Differences from AWS: Lambda tries an asynchronous invocation three times and then
// hands it to the dead-letter queue. There is none here, so a batch is tried until it
// succeeds. CloudWatch Logs, too, may deliver a line twice, then in another batch; here a
// line belongs to one batch.
package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Invoke calls the subscribed function with an event. An error means: the same again,
// later.
type Invoke func(ctx context.Context, event []byte) error

// Options is what a Deliverer works with. Zero fields have defaults.
type Options struct {
	Dir    string // of the spool; made if missing; one Deliverer's at a time
	Invoke Invoke
	Owner  string // the AWS account of the log groups; default 000000000000

	BatchAge   time.Duration // how old a batch gets before it is sent; default 200 ms
	BatchLines int           // how many lines it holds at most; default 500
	AtOnce     int           // how many batches are sent at the same time; default 4
	RetryAfter time.Duration // wait after a first failure, doubled up to MaxWait; default 200 ms
	MaxWait    time.Duration // default 10 s
	Flush      time.Duration // how long Close waits for what is left; default 2 s

	Log *slog.Logger // is told of batches that fail; default discards
}

// maxBatchBytes bounds the lines of a batch: what base64 makes of it, uncompressed, must
// stay well below the 6 MB that Lambda takes.
const maxBatchBytes = 1 << 20

// Group is a log group and the filter that its lines have passed.
type Group struct {
	Name   string // "/aws/lambda/authorizer"
	Stream string // default "local"
	Filter string // name of the subscription filter; default "usage"
}

// Deliverer takes lines and delivers them. It is safe for concurrent use.
type Deliverer struct {
	o       Options
	running context.Context
	stop    context.CancelFunc
	slots   chan struct{} // one for each batch that is being sent
	senders sync.WaitGroup
	once    sync.Once

	mu      sync.Mutex
	serial  int64            // of the last batch
	open    map[Group]*batch // that take lines
	waiting map[*batch]bool  // all that were not delivered, open ones included
	failed  int              // attempts since one succeeded
	closed  bool
}

// ErrClosed is Write's after Close.
var ErrClosed = errors.New("the log deliverer is closed")

// Open returns a Deliverer, which at once delivers what is left in the spool.
func Open(o Options) (*Deliverer, error) {
	if o.Owner == "" {
		o.Owner = "000000000000"
	}
	if o.BatchAge == 0 {
		o.BatchAge = 200 * time.Millisecond
	}
	if o.BatchLines == 0 {
		o.BatchLines = 500
	}
	if o.AtOnce == 0 {
		o.AtOnce = 4
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = 200 * time.Millisecond
	}
	if o.MaxWait == 0 {
		o.MaxWait = 10 * time.Second
	}
	if o.Flush == 0 {
		o.Flush = 2 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	d := &Deliverer{o: o, slots: make(chan struct{}, o.AtOnce), open: map[Group]*batch{}, waiting: map[*batch]bool{}}
	d.running, d.stop = context.WithCancel(context.Background())
	left, err := d.left()
	if err != nil {
		d.stop()
		return nil, fmt.Errorf("reading the spool of log lines: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range left {
		d.waiting[b] = true
		d.send(b)
	}
	return d, nil
}

// suffix is what the spool's files end with.
const suffix = ".jsonl"

// left are the batches of an earlier Deliverer, oldest first.
func (d *Deliverer) left() (batches []*batch, err error) {
	files, err := os.ReadDir(d.o.Dir) // sorted by name, and so by serial
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		serial, err := strconv.ParseInt(strings.TrimSuffix(f.Name(), suffix), 10, 64)
		if err != nil || !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		d.serial = max(d.serial, serial)
		batches = append(batches, &batch{name: filepath.Join(d.o.Dir, f.Name()), done: make(chan struct{})})
	}
	return batches, nil
}

// Write puts a line into the spool. An error means that it is not there.
func (d *Deliverer) Write(g Group, line string) error {
	if g.Stream == "" {
		g.Stream = "local"
	}
	if g.Filter == "" {
		g.Filter = "usage"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	b := d.open[g]
	if b == nil {
		d.serial++
		var err error
		if b, err = newBatch(filepath.Join(d.o.Dir, fmt.Sprintf("%012d%s", d.serial, suffix)), g); err != nil {
			return err
		}
		d.open[g], d.waiting[b] = b, true
		b.timer = time.AfterFunc(d.o.BatchAge, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.close(b)
		})
	}
	err := b.add(newEvent(time.Now(), line))
	if err != nil || b.lines >= d.o.BatchLines || b.bytes >= maxBatchBytes {
		d.close(b) // after an error too: what follows half a line would be lost with it
	}
	return err
}

// close closes a batch to more lines and sends it; d.mu is held.
func (d *Deliverer) close(b *batch) {
	if d.open[b.group] != b {
		return // it is closed
	}
	delete(d.open, b.group)
	b.timer.Stop()
	_ = b.file.Close() // all that was taken has been written
	d.send(b)
}

// send starts to deliver a closed batch; d.mu is held.
func (d *Deliverer) send(b *batch) {
	d.senders.Go(func() {
		if !d.deliver(b) {
			return // for a later Deliverer
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.waiting, b)
		close(b.done)
	})
}

// deliver sends a batch until it succeeds, and removes it; false: the Deliverer was closed
// before.
func (d *Deliverer) deliver(b *batch) bool {
	wait := d.o.RetryAfter
	for attempt := 1; ; attempt++ {
		select {
		case d.slots <- struct{}{}:
		case <-d.running.Done():
			return false
		}
		err := d.try(b)
		d.rest(err)
		<-d.slots
		if err == nil {
			return true
		}
		if d.running.Err() != nil {
			return false
		}
		d.o.Log.Warn("logs: a batch failed and is sent again", "batch", filepath.Base(b.name), "attempt", attempt, "error", err)
		select {
		case <-d.running.Done():
			return false
		case <-time.After(wait/2 + rand.N(wait/2+1)): // what failed together does not come back together
		}
		wait = min(2*wait, d.o.MaxWait)
	}
}

// patience is how many attempts may fail, and none succeed, before the function itself is
// taken for broken.
const patience = 20

// rest keeps the slot of an attempt for a while if the function is broken: hundreds of
// batches must not start a process each, again and again, that ends at once.
func (d *Deliverer) rest(err error) {
	d.mu.Lock()
	if err == nil {
		d.failed = 0
	} else {
		d.failed++
	}
	broken := d.failed - patience
	d.mu.Unlock()
	if broken < 0 {
		return
	}
	select {
	case <-d.running.Done():
	case <-time.After(min(d.o.RetryAfter<<min(broken, 20), d.o.MaxWait)):
	}
}

func (d *Deliverer) try(b *batch) error {
	payload, err := b.payload(d.o.Owner)
	if err != nil {
		return err
	}
	if payload != nil {
		if err := d.o.Invoke(d.running, payload); err != nil {
			return err
		}
	}
	if err := os.Remove(b.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Drain returns when every line that was written before it has been delivered, or with
// ctx's error.
func (d *Deliverer) Drain(ctx context.Context) error {
	d.mu.Lock()
	for _, b := range d.open {
		d.close(b)
	}
	var all []*batch
	for b := range d.waiting {
		all = append(all, b)
	}
	d.mu.Unlock()
	for _, b := range all {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close takes no more lines and returns when those there are were delivered, or
// Options.Flush has passed: the rest is delivered by the next Deliverer of this spool.
func (d *Deliverer) Close() error {
	d.once.Do(func() {
		d.mu.Lock()
		d.closed = true
		d.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), d.o.Flush)
		defer cancel()
		_ = d.Drain(ctx) // what it did not wait for is in the spool
		d.stop()
		d.senders.Wait()
	})
	return nil
}

// Waiting lists the spool's files that were not delivered yet, for whoever looks for
// something in them.
func (d *Deliverer) Waiting() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for b := range d.waiting {
		names = append(names, b.name)
	}
	slices.Sort(names)
	return names
}
