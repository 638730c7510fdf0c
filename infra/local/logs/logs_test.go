package logs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/infra/local/logs"
)

// The test binary is also the program that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SPOOL"); dir != "" {
		victim(dir)
		return
	}
	os.Exit(m.Run())
}

var access = logs.Group{Name: "access"}

// function is a subscribed function: what it was sent, and how it answers.
type function struct {
	t      testing.TB
	answer func(events.CloudwatchLogsData) error // default: success

	mu       sync.Mutex
	sent     []events.CloudwatchLogsData // every attempt
	accepted []events.CloudwatchLogsData
}

func (f *function) invoke(_ context.Context, payload []byte) error {
	var e events.CloudwatchLogsEvent
	err := json.Unmarshal(payload, &e)
	var d events.CloudwatchLogsData
	if err == nil {
		d, err = e.AWSLogs.Parse()
	}
	if err != nil {
		f.t.Errorf("the event does not decode: %v", err)
		return nil
	}
	f.mu.Lock()
	f.sent = append(f.sent, d)
	f.mu.Unlock()
	if f.answer != nil {
		if err := f.answer(d); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepted = append(f.accepted, d)
	return nil
}

// lines are the messages of the accepted batches, sorted.
func (f *function) lines() (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.accepted {
		for _, e := range d.LogEvents {
			out = append(out, e.Message)
		}
	}
	slices.Sort(out)
	return out
}

func open(t *testing.T, f *function, o logs.Options) *logs.Deliverer {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Invoke == nil {
		o.Invoke = f.invoke
	}
	if o.RetryAfter == 0 {
		o.RetryAfter = time.Millisecond
	}
	d, err := logs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func write(t testing.TB, d *logs.Deliverer, g logs.Group, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if err := d.Write(g, l); err != nil {
			t.Fatal(err)
		}
	}
}

func drain(t testing.TB, d *logs.Deliverer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.Drain(ctx); err != nil {
		t.Fatalf("draining: %v", err)
	}
}

func TestAnEventHasTheShapeThatCloudWatchLogsSends(t *testing.T) {
	f := &function{t: t}
	d := open(t, f, logs.Options{Owner: "123456789012"})
	before := time.Now().UnixMilli()
	write(t, d, logs.Group{Name: "/aws/lambda/authorizer", Stream: "s", Filter: "refusals"}, `{"a":"<é>"}`, "two")
	drain(t, d)
	if len(f.sent) != 1 {
		t.Fatalf("%d events, want 1", len(f.sent))
	}
	got := f.sent[0]
	ids := map[string]bool{}
	for i, e := range got.LogEvents {
		if !regexp.MustCompile(`^[0-9]{56}$`).MatchString(e.ID) || ids[e.ID] {
			t.Errorf("id %q, want one of 56 digits that is the line's own", e.ID)
		}
		ids[e.ID] = true
		if e.Timestamp < before || e.Timestamp > time.Now().UnixMilli() {
			t.Errorf("timestamp %d, want now in milliseconds", e.Timestamp)
		}
		got.LogEvents[i].ID, got.LogEvents[i].Timestamp = "", 0
	}
	want := events.CloudwatchLogsData{
		Owner: "123456789012", LogGroup: "/aws/lambda/authorizer", LogStream: "s", SubscriptionFilters: []string{"refusals"},
		MessageType: "DATA_MESSAGE", LogEvents: []events.CloudwatchLogsLogEvent{{Message: `{"a":"<é>"}`}, {Message: "two"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("event (-want +got):\n%s", d)
	}
}

func TestABatchIsOfOneGroupAndNeitherOldNorTooLong(t *testing.T) {
	f := &function{t: t}
	d := open(t, f, logs.Options{BatchAge: 50 * time.Millisecond, BatchLines: 3})
	for i := range 7 {
		write(t, d, access, fmt.Sprint("a", i))
		write(t, d, logs.Group{Name: "other"}, fmt.Sprint("b", i))
	}
	// Nobody drains: the last ones are sent because they are old.
	deadline := time.Now().Add(10 * time.Second)
	for len(f.lines()) < 14 {
		if time.Now().After(deadline) {
			t.Fatalf("%d lines after 10 s, want 14", len(f.lines()))
		}
		time.Sleep(time.Millisecond)
	}
	var got []string
	for _, d := range f.accepted {
		text := d.LogGroup
		for _, e := range d.LogEvents {
			text += " " + e.Message
		}
		got = append(got, text)
	}
	slices.Sort(got)
	want := []string{"access a0 a1 a2", "access a3 a4 a5", "access a6", "other b0 b1 b2", "other b3 b4 b5", "other b6"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("batches (-want +got):\n%s", d)
	}

	// Lines that do not shrink, as many as a batch takes: an event that Lambda takes.
	f = &function{t: t}
	most := 0
	d = open(t, f, logs.Options{Invoke: func(ctx context.Context, payload []byte) error {
		f.mu.Lock()
		most = max(most, len(payload))
		f.mu.Unlock()
		return f.invoke(ctx, payload)
	}})
	for range 400 {
		write(t, d, access, strings.Repeat(rand.Text(), 400)+rand.Text())
	}
	drain(t, d)
	if n := len(f.lines()); n != 400 || most > 3<<20 {
		t.Errorf("%d lines of 400, the longest event has %d bytes, want at most 3 MB", n, most)
	}
}

func TestABatchThatFailsIsSentAgainUnchangedAndHoldsUpNoOther(t *testing.T) {
	f := &function{t: t}
	var mu sync.Mutex
	failures := 0
	f.answer = func(d events.CloudwatchLogsData) error {
		mu.Lock()
		defer mu.Unlock()
		if d.LogEvents[0].Message == "bad" && failures < 5 {
			failures++
			return errors.New("not now")
		}
		return nil
	}
	d := open(t, f, logs.Options{RetryAfter: 20 * time.Millisecond})
	write(t, d, access, "bad", "worse")
	write(t, d, logs.Group{Name: "other"}, "good")
	drain(t, d)
	if d := cmp.Diff([]string{"bad", "good", "worse"}, f.lines()); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
	var attempts []events.CloudwatchLogsData
	for i, a := range f.sent {
		if a.LogGroup == "access" {
			attempts = append(attempts, a)
		} else if i > 4 {
			t.Error("the other batch waited for the one that failed")
		}
	}
	if len(attempts) != 6 {
		t.Errorf("%d attempts, want 6", len(attempts))
	}
	for _, a := range attempts {
		if d := cmp.Diff(attempts[0], a); d != "" {
			t.Errorf("an attempt differs from the first:\n%s", d)
		}
	}
}

func TestCloseDeliversWhatIsLeftOrLeavesItToTheNext(t *testing.T) {
	dir := t.TempDir()
	f := &function{t: t}
	d := open(t, f, logs.Options{Dir: dir, BatchAge: time.Hour})
	write(t, d, access, "flushed")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"flushed"}, f.lines()); d != "" {
		t.Errorf("at Close (-want +got):\n%s", d)
	}
	if err := d.Write(access, "late"); !errors.Is(err, logs.ErrClosed) {
		t.Errorf("a line after Close: %v, want ErrClosed", err)
	}

	hangs := open(t, nil, logs.Options{Dir: dir, BatchAge: time.Hour, Flush: 50 * time.Millisecond, Invoke: func(ctx context.Context, _ []byte) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	write(t, hangs, access, "left")
	begun := time.Now()
	if err := hangs.Close(); err != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("Close took %v: %v", time.Since(begun), err)
	}
	if n := len(hangs.Waiting()); n != 1 {
		t.Errorf("%d batches wait, want 1", n)
	}
	f = &function{t: t}
	drain(t, open(t, f, logs.Options{Dir: dir}))
	if d := cmp.Diff([]string{"left"}, f.lines()); d != "" {
		t.Errorf("after the restart (-want +got):\n%s", d)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%d files are left, error %v", len(files), err)
	}
}

// A function that cannot start must not be started by every batch again and again.
func TestABrokenFunctionIsLeftInPeace(t *testing.T) {
	f := &function{t: t}
	var broken atomic.Bool
	broken.Store(true)
	f.answer = func(events.CloudwatchLogsData) error {
		if broken.Load() {
			return errors.New("cannot start")
		}
		return nil
	}
	d := open(t, f, logs.Options{BatchLines: 1, MaxWait: 300 * time.Millisecond})
	for i := range 300 {
		write(t, d, access, fmt.Sprintf("%03d", i))
	}
	time.Sleep(3 * time.Second)
	f.mu.Lock()
	// 20 before it is taken for broken, then 4 at once in 300 ms; each batch by itself would
	// have made 10 in 3 s.
	if n := len(f.sent); n < 20 || n > 120 {
		t.Errorf("%d attempts, want at most 120", n)
	}
	f.mu.Unlock()
	broken.Store(false)
	drain(t, d)
	if n := len(f.lines()); n != 300 {
		t.Errorf("%d lines once it works, want 300", n)
	}
}

// victim writes numbered lines and says which are taken, until it is killed. Its function
// notes what it is sent, and never answers.
func victim(dir string) {
	note := filepath.Join(filepath.Dir(dir), "sent")
	d, err := logs.Open(logs.Options{Dir: dir, BatchLines: 20, Invoke: func(ctx context.Context, payload []byte) error {
		f, err := os.OpenFile(note, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		if _, err := f.Write(append(payload, '\n')); err != nil {
			panic(err)
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		if err := d.Write(access, fmt.Sprintf("%s-%06d", os.Getenv("NAME"), i)); err != nil {
			panic(err)
		}
		fmt.Println(i)
	}
}

// Whatever a killed program had taken is delivered by the next one, in the batches and
// with the ids that it had been sent in before.
func TestAKillLosesNothingAndChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	noted := func() int { // batches that have been sent
		text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "sent"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	taken := map[string]int{}
	for run := range 5 {
		name := fmt.Sprint("run", run)
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SPOOL="+dir, "NAME="+name)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		n, killed := 0, false
		for s := bufio.NewScanner(out); s.Scan(); n++ {
			// Somewhere in a batch, and not before it has sent one.
			if !killed && n >= 50+37*run && n%7 == run && noted() > run {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				killed = true
			}
		}
		_ = cmd.Wait() // it was killed
		taken[name] = n
	}

	f := &function{t: t}
	drain(t, open(t, f, logs.Options{Dir: dir}))
	delivered := map[string]int{}
	lines := f.lines()
	for i, l := range lines {
		if i > 0 && l == lines[i-1] {
			t.Errorf("line %s came twice", l)
		}
		name, _, _ := strings.Cut(l, "-")
		delivered[name]++
	}
	for name, n := range taken {
		// The last one may have been taken and not been told.
		if got := delivered[name]; got != n && got != n+1 {
			t.Errorf("%s: %d lines delivered, want %d or one more", name, got, n)
		}
	}

	batches := map[string]events.CloudwatchLogsData{} // by the first line's id
	for _, d := range f.accepted {
		batches[d.LogEvents[0].ID] = d
	}
	sent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "sent"))
	if err != nil {
		t.Fatal(err)
	}
	before := &function{t: t}
	for line := range strings.Lines(string(sent)) {
		if strings.HasSuffix(line, "\n") { // else it was killed while it noted that
			_ = before.invoke(t.Context(), []byte(line))
		}
	}
	if len(before.sent) < 5 {
		t.Errorf("%d batches had been sent before, want some to compare", len(before.sent))
	}
	for _, d := range before.sent {
		if diff := cmp.Diff(d, batches[d.LogEvents[0].ID]); diff != "" {
			t.Fatalf("a batch has changed (-before the kill +after):\n%s", diff)
		}
	}
}

// A program that is killed, or a disk that is full, leaves half a line.
func TestHalfALineIsNone(t *testing.T) {
	dir := t.TempDir()
	const first = `{"name":"access","stream":"local","filter":"usage"}` + "\n"
	const whole = `{"id":"1","timestamp":1,"message":"whole"}` + "\n"
	for name, text := range map[string]string{
		"000000000001.jsonl": first + whole + `{"id":"2","timestamp":2,"mess`,
		"000000000002.jsonl": first,
		"000000000003.jsonl": first[:10],
		"000000000004.jsonl": "",
		"README":             "not a batch",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &function{t: t}
	d := open(t, f, logs.Options{Dir: dir})
	write(t, d, access, "next")
	drain(t, d)
	if d := cmp.Diff([]string{"next", "whole"}, f.lines()); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("%v are left, want README alone", files)
	}
}

func TestManyWritersAndFailuresLoseNothing(t *testing.T) {
	f := &function{t: t}
	var mu sync.Mutex
	calls := 0
	f.answer = func(events.CloudwatchLogsData) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%3 != 0 {
			return errors.New("two of three fail")
		}
		return nil
	}
	d := open(t, f, logs.Options{BatchAge: time.Millisecond, BatchLines: 40, MaxWait: 20 * time.Millisecond})
	var wg sync.WaitGroup
	var want []string
	for w := range 8 {
		for i := range 500 {
			want = append(want, fmt.Sprintf("%d-%03d", w, i))
		}
		wg.Go(func() {
			for i := range 500 {
				if err := d.Write(logs.Group{Name: fmt.Sprint(w % 2)}, fmt.Sprintf("%d-%03d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	drain(t, d)
	if d := cmp.Diff(want, f.lines()); d != "" {
		t.Errorf("delivered (-want +got):\n%s", d)
	}
}
