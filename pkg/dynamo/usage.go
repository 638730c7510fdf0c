package dynamo

import (
	"cmp"
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/keyreeve/keyreeve/pkg/usage"
)

var _ usage.Store = (*Usage)(nil)

// UsageConfig is what a Usage works with. Table is needed.
type UsageConfig struct {
	Table string // the usage table
	// Timeout bounds one call to DynamoDB; 0: 2 s. A method that makes many has its
	// context's deadline alone.
	Timeout time.Duration
	// Patience is how long one write is repeated that DynamoDB turns away, since others
	// write the same items or too much at once, or does not answer; 0: 10 s.
	Patience time.Duration
	// Clock says when lines and marks begin to wait for their end; nil: time.Now.
	Clock func() time.Time
	// RowsPerPage is how many rows Requests reads for one page, whether they match or not,
	// before it leaves the rest to the next; 0: 10,000, which are some 3 MB. It reads one
	// portion of each shard more than that, at most.
	RowsPerPage int
}

// Usage is the store of counts, profiles and the request log. It is safe for concurrent
// use.
//
// Each of its writes is the same when it is done twice: it is under a condition that names
// its batch or version, or it sets what does not depend on what is there. So a write whose
// answer was lost is just done again, and no error leaves a question open.
type Usage struct {
	client *dynamodb.Client
	cfg    UsageConfig
}

const (
	defaultPatience    = 10 * time.Second
	defaultRowsPerPage = 10_000
)

// NewUsage returns a store in that table.
func NewUsage(client *dynamodb.Client, c UsageConfig) *Usage {
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.Patience = cmp.Or(c.Patience, defaultPatience)
	c.RowsPerPage = cmp.Or(c.RowsPerPage, defaultRowsPerPage)
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Usage{client: client, cfg: c}
}

// persist repeats a write until it is applied, until a repeat would be of no use, or until
// patience ends. The SDK's own repeats are left out: they are few, and they count what is
// turned away here by the thousand against a budget that reads have to share.
func (u *Usage) persist(ctx context.Context, write func(ctx context.Context, opts ...func(*dynamodb.Options)) error) error {
	end := time.Now().Add(u.cfg.Patience)
	for n := 1; ; n++ {
		err := u.call(ctx, func(ctx context.Context) error { return write(ctx, once) })
		if f := judge(err); f != turned && f != unknown || time.Now().After(end) || pause(ctx, n) != nil {
			return err
		}
	}
}

// call bounds one call.
func (u *Usage) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	return do(ctx)
}
