// Package flush empties API Gateway's caches of authorizers' policies when what a key may
// do has changed. On guarded routes the guard knows of a change at once; on unguarded ones,
// and where a policy forbids what a key may do now, a policy goes on being believed until
// it is too old, unless its stage's cache is emptied.
//
// The model: a change touches [Stages]; each has a [Cache] of its own, which one call
// empties whole. That is done three times, and each covers what the ones before cannot:
//
//	the function keys    before the answer ([Flusher.AtOnce]): what was cached before the change
//	the function stream  within a second or so: what the first could not do, for a crash, a
//	                     throttle, or another flush just before
//	the function flush   when the authorizer's time-out has passed since the change: what an
//	                     authorizer has put into the cache that had read the key before the change
//
// The last two have the stream's records for their work, which come until it is done: what
// fails is repeated, and what fails again and again ends in a queue, with an alarm.
//
// Promises: of one stage's cache a process makes at most one successful call in [Every],
// and who asks meanwhile shares it, if it begins after it was asked for; a call that was
// throttled is repeated, later each time and at random (full jitter), for as long as the
// context lasts; what a key may do has been committed before anything is flushed, so no
// failure here is the change's.
//
// Whether or not a flush comes to pass, a change is in force everywhere by [Bound].
//
// The package imports no AWS, HTTP or Lambda code.
package flush

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Cache is API Gateway's of a deployment's stages.
type Cache interface {
	// Flush empties the cache of a stage, of all keys and authorizers. ErrThrottled: nothing
	// was done and it may be tried again. It is safe for concurrent use.
	Flush(ctx context.Context, stage string) error
}

// ErrThrottled says that API Gateway took no more calls. Its quota of them is an account's
// and region's, 10 a second with bursts of 40, deployments and all else included
// (https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html, "Total
// operations"; FlushStageAuthorizersCache has none of its own).
var ErrThrottled = errors.New("throttled")

// Every is how often a process empties one stage's cache at most: a tenth of the quota.
const Every = time.Second

// Stages are those that a key of an environment works on. shared: there is the stage that
// takes keys of every environment.
func Stages(e keys.Environment, shared bool) []string {
	if shared {
		return []string{string(e), keys.SharedStage}
	}
	return []string{string(e)}
}

// Bound is how long after its commit a change is in force everywhere at the latest,
// unguarded routes included and though nothing is flushed: an authorizer may have read the
// key just before the change, answer just before its time-out, and be believed for as long
// as a policy is kept.
func Bound(authorizerTimeout, kept time.Duration) time.Duration { return authorizerTimeout + kept }
