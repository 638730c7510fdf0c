package dynamo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// inBatches gives list to do in pieces of size, several at once, and returns the first
// error. With it the others are told to stop, and nothing new begins.
func inBatches[T any](ctx context.Context, list []T, size, atOnce int, do func(context.Context, []T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
		slots = make(chan struct{}, atOnce)
	)
	fail := func(err error) {
		once.Do(func() {
			first = err
			cancel() // the others' answers are of no use any more
		})
	}
	for piece := range slices.Chunk(list, size) {
		slots <- struct{}{}
		if err := ctx.Err(); err != nil {
			fail(err)
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(ctx, piece); err != nil {
				fail(err)
			}
		})
	}
	wg.Wait()
	return first
}

// getBatch reads up to 100 items, of one table or several, and returns them by table.
// DynamoDB may leave some out when it is busy; it then asks for a wait before they are
// asked for again.
func getBatch(ctx context.Context, client *dynamodb.Client, want map[string]types.KeysAndAttributes) (map[string][]item, error) {
	found := make(map[string][]item, len(want))
	for n := 0; len(want) > 0; n++ {
		if n > 0 {
			if err := pause(ctx, n); err != nil {
				return nil, fmt.Errorf("items of %d tables were left out: %w", len(want), err)
			}
		}
		out, err := client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: want})
		if err != nil {
			return nil, err
		}
		for table, items := range out.Responses {
			found[table] = append(found[table], items...)
		}
		want = out.UnprocessedKeys
	}
	return found, nil
}
