package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/pkg/alert"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Alerts reads alerts; keys.ErrNotFound. It is the part of an alert.Store that deliveries
// need.
type Alerts interface {
	Alert(ctx context.Context, accountID, id string) (alert.Alert, error)
}

// NotifierConfig is what a Notifier works with. The first four fields are needed.
type NotifierConfig struct {
	Store   Store
	Alerts  Alerts
	Peppers keys.Peppers
	Sender  *Sender
	// Bus takes every alert; nil: there is none.
	Bus Publisher
	// Waits before each further attempt; after the last attempt a delivery is dead.
	Waits []time.Duration
	Log   *slog.Logger // nil: none
	Clock func() time.Time
	// Random draws the jitter of a wait from [0,n). It defaults to math/rand/v2: nothing
	// secret comes from it.
	Random func(n int64) int64
}

// Notifier delivers alerts. It is safe for concurrent use, by several processes too.
type Notifier struct{ cfg NotifierConfig }

// NewNotifier returns a Notifier.
func NewNotifier(c NotifierConfig) *Notifier {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Int64N
	}
	return &Notifier{c}
}

// Outcome is what was done, for metrics.
type Outcome struct {
	Published int // alerts put on the bus
	Delivered int // deliveries that arrived
	Failed    int // attempts that did not
	Dead      int // deliveries given up after their last attempt; not those whose webhook is gone
}

const (
	// lease is longer than everything that is done with a delivery between Take and Finish.
	lease = time.Minute
	// reserve is what one more attempt may take: without so much time left before the
	// context's deadline none is begun.
	reserve = attemptTimeout + 4*time.Second
	// noteTimeout is for the note of an attempt when the context has ended meanwhile.
	noteTimeout = 3 * time.Second

	atOnce  = 16  // webhooks that are sent to at the same time
	dueOnce = 200 // deliveries that one tick looks at
)

// OnAlerts takes alerts that were raised: puts each on the bus, makes a delivery for each
// webhook of its account that wants its kind, and then attempts these deliveries. taken is
// how many alerts are safe; err is why the next one is not, and it and those after it must
// come again. An attempt that fails is no error: the delivery waits for a tick. An alert
// may come twice: there is one delivery then, and two events of one id on the bus.
func (n *Notifier) OnAlerts(ctx context.Context, alerts []alert.Alert) (taken int, o Outcome, err error) {
	var due []Ref
	for _, a := range alerts {
		refs, err := n.take(ctx, a, &o)
		due = append(due, refs...)
		if err != nil {
			n.attemptAll(ctx, due, &o)
			return taken, o, err
		}
		taken++
	}
	n.attemptAll(ctx, due, &o)
	return taken, o, nil
}

// take makes what one alert asks for safe. The bus and the webhooks do not wait for each
// other: if one of them fails, the other has had its turn, and has it again.
func (n *Notifier) take(ctx context.Context, a alert.Alert, o *Outcome) ([]Ref, error) {
	var busErr error
	if n.cfg.Bus != nil {
		if busErr = n.cfg.Bus.Publish(ctx, a); busErr == nil {
			o.Published++
		}
	}
	if a.AccountID == alert.Installation {
		return nil, busErr
	}
	endpoints, err := n.cfg.Store.Endpoints(ctx, a.AccountID)
	if err != nil {
		return nil, errors.Join(busErr, err)
	}
	var refs []Ref
	for i := range endpoints {
		e := &endpoints[i]
		if !e.wants(a.Kind) {
			continue
		}
		now := n.now()
		d := Delivery{
			ID: deliveryID(e.ID, a.RaisedAt, a.ID), AccountID: a.AccountID, EndpointID: e.ID, AlertID: a.ID,
			State: Pending, NextAt: now, CreatedAt: now,
		}
		if err := n.cfg.Store.Enqueue(ctx, d); err != nil {
			return refs, errors.Join(busErr, err)
		}
		refs = append(refs, Ref{d.AccountID, d.ID})
	}
	return refs, busErr
}

// wants reports whether alerts of that kind go to e.
func (e *Endpoint) wants(k alert.Kind) bool {
	return e.Active && (len(e.Kinds) == 0 || slices.Contains(e.Kinds, k))
}

// OnTick attempts the deliveries that are due, as many as there is time for. Two ticks at
// once share them out.
func (n *Notifier) OnTick(ctx context.Context) (o Outcome, err error) {
	due, err := n.cfg.Store.Due(ctx, n.now(), dueOnce)
	if err != nil {
		return o, err
	}
	n.attemptAll(ctx, due, &o)
	return o, nil
}

// attemptAll attempts deliveries: those of one webhook one after the other, several
// webhooks at a time.
func (n *Notifier) attemptAll(ctx context.Context, due []Ref, o *Outcome) {
	byEndpoint := map[string][]Ref{}
	var order []string
	for _, r := range due {
		endpoint, _ := endpointOf(r.ID)
		if byEndpoint[endpoint] == nil {
			order = append(order, endpoint)
		}
		byEndpoint[endpoint] = append(byEndpoint[endpoint], r)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		slots = make(chan struct{}, atOnce)
	)
	for _, endpoint := range order {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			part := n.attemptEach(ctx, byEndpoint[endpoint])
			mu.Lock()
			defer mu.Unlock()
			o.Delivered += part.Delivered
			o.Failed += part.Failed
			o.Dead += part.Dead
		})
	}
	wg.Wait()
}

// attemptEach attempts deliveries of one webhook. If one of them gets no answer in time,
// the others' attempts count as failed without being made: a receiver that hangs must not
// take the time of everybody else's, and its deliveries must not stay the oldest that are
// due.
func (n *Notifier) attemptEach(ctx context.Context, refs []Ref) (o Outcome) {
	hangs := false
	for _, r := range refs {
		if deadline, ok := ctx.Deadline(); ctx.Err() != nil || ok && !hangs && time.Until(deadline) < reserve {
			return o
		}
		d, ok, err := n.cfg.Store.Take(ctx, r, n.now(), lease)
		if err != nil {
			n.cfg.Log.Error("delivery not taken", "accountId", r.AccountID, "deliveryId", r.ID, "error", err.Error())
			return o
		}
		if !ok {
			continue
		}
		if err := n.attempt(ctx, &d, &hangs, &o); err != nil {
			// It stays pending: when the lease has ended, it is taken again.
			n.cfg.Log.Error("delivery not noted", "accountId", d.AccountID, "deliveryId", d.ID, "error", err.Error())
		}
	}
	return o
}

// attempt does with a delivery that was taken what there is to do, and notes it.
func (n *Notifier) attempt(ctx context.Context, d *Delivery, hangs *bool, o *Outcome) error {
	e, err := n.cfg.Store.Endpoint(ctx, d.AccountID, d.EndpointID)
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return n.drop(ctx, d, ErrorDeleted)
	case err != nil:
		return err
	case !e.Active:
		return n.drop(ctx, d, ErrorOff)
	}
	a, err := n.cfg.Alerts.Alert(ctx, d.AccountID, d.AlertID)
	if errors.Is(err, keys.ErrNotFound) {
		return n.drop(ctx, d, ErrorAlertGone)
	}
	if err != nil {
		return err
	}
	made := Attempt{At: n.now(), Error: ErrorHeldUp}
	if !*hangs {
		if made, err = n.send(ctx, &e, d.ID, a); err != nil {
			return err
		}
		*hangs = made.Error == ErrorTimeout
	}
	d.Attempts++
	d.note(made)
	switch {
	case made.succeeded():
		d.State = Delivered
		o.Delivered++
		return n.finish(ctx, d)
	case made.Status == 410:
		o.Failed++
		if err := n.switchOff(ctx, &e); err != nil {
			return err
		}
		return n.bury(ctx, d, o)
	}
	o.Failed++
	if d.Attempts > len(n.cfg.Waits) {
		return n.bury(ctx, d, o)
	}
	d.NextAt = n.now().Add(n.jittered(n.cfg.Waits[d.Attempts-1]))
	return n.finish(ctx, d)
}

// send makes the attempt itself. An error is a fault of ours.
func (n *Notifier) send(ctx context.Context, e *Endpoint, id string, a alert.Alert) (Attempt, error) {
	m, err := alertMessage(id, a)
	if err != nil {
		return Attempt{}, err
	}
	secret, err := n.secret(ctx, e)
	if err != nil {
		// It counts as an attempt: a pepper that is gone for good must not keep a delivery
		// coming for ever.
		n.cfg.Log.Error("webhook's secret not readable", "accountId", e.AccountID, "webhookId", e.ID, "error", err.Error())
		return Attempt{At: n.now(), Error: ErrorSecret}, nil
	}
	return n.cfg.Sender.send(ctx, e.URL, m, secret, n.now()), nil
}

func (n *Notifier) secret(ctx context.Context, e *Endpoint) (signingSecret, error) {
	ring, err := n.cfg.Peppers.With(ctx, e.Pepper)
	if err != nil {
		return signingSecret{}, err
	}
	return open(ring, e)
}

// switchOff ends a webhook whose receiver wants no more, unless its owner has changed it
// meanwhile: then it is for the next delivery to see.
func (n *Notifier) switchOff(ctx context.Context, e *Endpoint) error {
	e.Active, e.Version, e.UpdatedAt = false, e.Version+1, n.now()
	err := n.cfg.Store.UpdateEndpoint(ctx, *e)
	if errors.Is(err, ErrChanged) || errors.Is(err, keys.ErrNotFound) {
		return nil
	}
	if err == nil {
		n.cfg.Log.Warn("webhook switched off: its receiver is gone", "accountId", e.AccountID, "webhookId", e.ID)
	}
	return err
}

// drop ends a delivery that nobody waits for any more.
func (n *Notifier) drop(ctx context.Context, d *Delivery, why string) error {
	d.State = Dead
	d.note(Attempt{At: n.now(), Error: why})
	if err := n.finish(ctx, d); err != nil {
		return err
	}
	n.cfg.Log.Info("webhook delivery dropped", "accountId", d.AccountID, "webhookId", d.EndpointID, "deliveryId", d.ID,
		"alertId", d.AlertID, "reason", why)
	return nil
}

// bury ends a delivery that was attempted in vain: somebody should know.
func (n *Notifier) bury(ctx context.Context, d *Delivery, o *Outcome) error {
	d.State = Dead
	if err := n.finish(ctx, d); err != nil {
		return err
	}
	o.Dead++
	last := d.Log[len(d.Log)-1]
	n.cfg.Log.Error("webhook delivery given up", "accountId", d.AccountID, "webhookId", d.EndpointID, "deliveryId", d.ID,
		"alertId", d.AlertID, "attempts", d.Attempts, "status", last.Status, "reason", last.Error)
	return nil
}

// finish notes what became of a delivery, also if the context has ended while it was sent:
// what is not noted is sent again.
func (n *Notifier) finish(ctx context.Context, d *Delivery) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	return n.cfg.Store.Finish(ctx, *d)
}

// note adds an attempt to the log.
func (d *Delivery) note(a Attempt) {
	d.Log = append(d.Log, a)
	if over := len(d.Log) - MaxLog; over > 0 {
		d.Log = slices.Delete(d.Log, 0, over)
	}
}

// jittered is a wait, give or take a tenth: what failed together does not come back
// together.
func (n *Notifier) jittered(wait time.Duration) time.Duration {
	tenth := int64(wait / 10)
	return (wait - time.Duration(tenth) + time.Duration(n.cfg.Random(2*tenth+1))).Truncate(time.Millisecond)
}

// now is the time as stores keep it.
func (n *Notifier) now() time.Time { return n.cfg.Clock().UTC().Truncate(time.Millisecond) }
