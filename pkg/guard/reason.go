package guard

import (
	"errors"

	"github.com/keyreeve/keyreeve/pkg/logline"
)

// Reason is a refusal as the log names it: a keys.Reason, or one of package logline. It is
// empty for an error of another kind, which proves nothing of the key.
func Reason(err error) string {
	var unauthorized *UnauthorizedError
	var scope *ScopeError
	var limit *LimitError
	switch {
	case errors.As(err, &unauthorized):
		return string(unauthorized.Reason)
	case errors.As(err, &scope) && scope.Session:
		return logline.ReasonManagement
	case errors.As(err, &scope) && scope.Network:
		return logline.ReasonNetwork
	case errors.As(err, &scope) && scope.Customer:
		return logline.ReasonCustomer
	case errors.As(err, &scope):
		return logline.ReasonPermission
	case errors.As(err, &limit):
		return logline.ReasonLimit
	}
	return ""
}
