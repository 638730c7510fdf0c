package dynamo

import (
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyreeve/keyreeve/pkg/keys"
)

// Codes of API errors, and of CancellationReasons
// (docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html).
const (
	codeTransactionConflict = "TransactionConflictException"

	reasonNone      = "None"
	reasonCondition = "ConditionalCheckFailed"
	reasonConflict  = "TransactionConflict"
)

// throttled are the codes of a request that DynamoDB turned away unread.
var throttled = map[string]bool{
	"ProvisionedThroughputExceededException": true,
	"RequestLimitExceeded":                   true,
	"ThrottlingException":                    true,
}

// fate is what an error says about a write that was attempted once.
type fate int

const (
	applied  fate = iota // no error
	refused              // a condition failed: nothing was written
	turned               // turned away: nothing was written, and the same request may pass later
	rejected             // nothing was written, and the same request never passes
	unknown              // it may have been written, or may yet be
)

// judge reads the fate off an error. What it does not know is unknown: that costs a look
// more, where a wrong "nothing was written" would cost the truth.
func judge(err error) fate {
	var (
		canceled *types.TransactionCanceledException
		api      smithy.APIError
		response *smithyhttp.ResponseError
		dial     *net.OpError
	)
	switch {
	case err == nil:
		return applied
	case isConditionFailed(err):
		return refused
	case errors.As(err, &canceled):
		return judgeReasons(canceled.CancellationReasons)
	case errors.As(err, &api):
		code := api.ErrorCode()
		if throttled[code] || code == codeTransactionConflict {
			return turned
		}
		if code == "TransactionInProgressException" {
			return unknown // an attempt before this one, with its token, is still at work
		}
		// A 4xx is an answer to what was asked: it was not done. Any 5xx may come after it was.
		if errors.As(err, &response) && response.HTTPStatusCode()/100 == 4 {
			return rejected
		}
	case errors.As(err, &dial) && dial.Op == "dial":
		return turned // nothing was ever sent
	}
	return unknown
}

// judgeReasons reads why a transaction was cancelled, item by item.
func judgeReasons(reasons []types.CancellationReason) fate {
	f := turned // TransactionConflict, ThrottlingError, ProvisionedThroughputExceeded
	for _, r := range reasons {
		switch code(r) {
		case reasonCondition:
			return refused
		case "ValidationError", "ItemCollectionSizeLimitExceeded", "DuplicateItem":
			f = rejected
		}
	}
	return f
}

func code(r types.CancellationReason) string {
	if r.Code == nil {
		return reasonNone
	}
	return *r.Code
}

func isConditionFailed(err error) bool {
	var failed *types.ConditionalCheckFailedException
	return errors.As(err, &failed)
}

// unavailable wraps the error of a read, or of a write that was certainly not applied.
func unavailable(err error, format string, a ...any) error {
	return fmt.Errorf("%s: %w: %w", fmt.Sprintf(format, a...), keys.ErrUnavailable, err)
}

// failed wraps the error of a single write by its fate.
func failed(err error, format string, a ...any) error {
	if judge(err) == unknown {
		return fmt.Errorf("%s: %w: %w", fmt.Sprintf(format, a...), keys.ErrOutcomeUnknown, err)
	}
	return unavailable(err, format, a...)
}
