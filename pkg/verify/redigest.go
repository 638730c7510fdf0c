package verify

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/pkg/apikey"
	"github.com/keyreeve/keyreeve/pkg/keys"
)

// redigestTimeout bounds one attempt. It is more than a write takes and less than a
// Lambda's idle time costs anyone.
const redigestTimeout = time.Second

// redigest moves the stored digest of a key's live secret to the ring's current pepper,
// on the side: the verdict neither waits for it nor hears of its failure, because the next
// request with this key tries again. One attempt at a time is enough, and keeps a flood
// of old keys from becoming a flood of writes. (Lambda freezes a process between two
// requests. The write is on its way by then or fails with its deadline; both are fine.)
//
// It moves forward only: a process whose ring still names the older pepper as current
// meets keys that others have moved on already, and must not undo that.
func (v *Verifier) redigest(ctx context.Context, ring *apikey.Ring, presented apikey.Key, was keys.Secret) {
	if !apikey.LaterVersion(was.Pepper, ring.Current()) || !v.redigesting.CompareAndSwap(false, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), redigestTimeout)
	go func() {
		defer v.redigesting.Store(false)
		defer cancel()
		defer func() { _ = recover() }() // a store's panic here must not end a process that others' requests run in
		now := was
		now.Pepper = ring.Current()
		var err error
		if now.Digest, err = ring.Digest(now.Pepper, presented); err == nil {
			_ = v.cfg.Store.Redigest(ctx, presented.ID(), was, now)
		}
	}()
}
