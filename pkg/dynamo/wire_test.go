package dynamo_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// wire sits between a client and DynamoDB, inside the SDK's retries: it sees every
// attempt, and may put a fault in its place.
type wire struct {
	mu     sync.Mutex
	calls  []string // operations attempted, in order
	inject func(c call) fault
}

// call is one attempt.
type call struct {
	n     int // 0 is the first since reset
	op    string
	input any // *dynamodb.…Input
}

// fault is what becomes of an attempt. The zero fault is none.
type fault struct {
	name    string
	applied bool             // DynamoDB does it, though the caller hears err
	err     func(call) error // nil: no fault
}

func (w *wire) reset(inject func(call) fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls, w.inject = nil, inject
}

func (w *wire) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

type inputKey struct{}

// option is for dynamo.NewClient.
func (w *wire) option(o *dynamodb.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		keep := func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(middleware.WithStackValue(ctx, inputKey{}, in.Parameters), in)
		}
		return errors.Join(
			stack.Initialize.Add(middleware.InitializeMiddlewareFunc("keepInput", keep), middleware.Before),
			stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("wire", w.attempt), middleware.Before),
		)
	})
}

func (w *wire) attempt(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, meta middleware.Metadata, err error) {
	c := call{input: middleware.GetStackValue(ctx, inputKey{}), op: target(in.Request)}
	w.mu.Lock()
	c.n = len(w.calls)
	w.calls = append(w.calls, c.op)
	inject := w.inject
	w.mu.Unlock()
	var f fault
	if inject != nil {
		f = inject(c)
	}
	if f.err == nil {
		return next.HandleDeserialize(ctx, in)
	}
	if f.applied {
		if _, _, err := next.HandleDeserialize(ctx, in); err != nil {
			return out, meta, err // it was refused anyway
		}
	}
	return out, meta, f.err(c)
}

func target(request any) string {
	r, _ := request.(*smithyhttp.Request)
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return op
}

// The faults, as the SDK shows them.
var (
	failBefore       = fault{name: "fail before", err: func(call) error { return reset() }}
	appliedThenError = fault{name: "applied then error", applied: true, err: func(call) error { return reset() }}
	serverError      = fault{name: "server error", err: func(call) error { return status(500, &types.InternalServerError{}) }}
	appliedThen500   = fault{name: "applied then server error", applied: true, err: serverError.err}
	throttle         = fault{name: "throttle", err: func(call) error { return status(400, &types.ThrottlingException{}) }}
	conflictFault    = fault{name: "transaction conflict", err: transactionConflict}
	timeout          = fault{name: "timeout", err: func(call) error { return &smithyhttp.RequestSendError{Err: noAnswer{}} }}
	appliedThenLate  = fault{name: "applied then timeout", applied: true, err: timeout.err}
)

func allFaults() []fault {
	return []fault{failBefore, appliedThenError, serverError, appliedThen500, throttle, conflictFault, timeout, appliedThenLate}
}

func reset() error {
	return &smithyhttp.RequestSendError{Err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}}
}

// noAnswer is what net/http says when the headers do not come in time.
type noAnswer struct{}

func (noAnswer) Error() string   { return "net/http: timeout awaiting response headers" }
func (noAnswer) Timeout() bool   { return true }
func (noAnswer) Temporary() bool { return true }

func status(code int, err error) error {
	return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: err}
}

// transactionConflict is what losing against another transaction looks like.
func transactionConflict(c call) error {
	t, ok := c.input.(*dynamodb.TransactWriteItemsInput)
	if !ok {
		return status(400, &types.TransactionConflictException{})
	}
	return cancelled(t, func(int) string { return "TransactionConflict" })
}

// cancelled is a cancelled transaction with that code for each item.
func cancelled(t *dynamodb.TransactWriteItemsInput, codeOf func(i int) string) error {
	var reasons []types.CancellationReason
	for i := range t.TransactItems {
		reasons = append(reasons, types.CancellationReason{Code: aws.String(codeOf(i))})
	}
	return status(400, &types.TransactionCanceledException{CancellationReasons: reasons})
}

// denied is an answer that no repeat changes.
var denied = fault{name: "access denied", err: func(call) error {
	return status(400, &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"})
}}

// always injects f into every attempt of an operation; "" is every operation.
func always(f fault, op string) func(call) fault {
	return func(c call) fault {
		if op == "" || c.op == op {
			return f
		}
		return fault{}
	}
}

// firstOf injects the faults one after the other into the attempts of an operation, then
// no more.
func firstOf(op string, faults ...fault) func(call) fault {
	n := 0
	return func(c call) fault {
		if c.op != op || n >= len(faults) {
			return fault{}
		}
		n++
		return faults[n-1]
	}
}
