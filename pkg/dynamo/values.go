package dynamo

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type item = map[string]types.AttributeValue

func text(s string) *types.AttributeValueMemberS { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) *types.AttributeValueMemberN {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

// Items are written and read by hand: a reflecting encoder is slower on the hot path, and
// would spread the layout over struct tags.

// The put functions add an attribute to an item, or leave it out if it is empty.

func putText(it item, name, s string) {
	if s != "" {
		it[name] = text(s)
	}
}

func putInt(it item, name string, n int64) {
	if n != 0 {
		it[name] = number(n)
	}
}

func putBool(it item, name string, b bool) {
	if b {
		it[name] = yes
	}
}

func putTime(it item, name string, t time.Time) {
	if !t.IsZero() {
		it[name] = number(t.UnixMilli())
	}
}

func putBytes(it item, name string, b []byte) {
	if len(b) > 0 {
		it[name] = &types.AttributeValueMemberB{Value: b}
	}
}

// putList keeps the order, which a string set would not.
func putList(it item, name string, list []string) {
	if len(list) == 0 {
		return
	}
	values := make([]types.AttributeValue, len(list))
	for i, s := range list {
		values[i] = text(s)
	}
	it[name] = &types.AttributeValueMemberL{Value: values}
}

func putMap(it item, name string, m map[string]string) {
	if len(m) == 0 {
		return
	}
	values := make(map[string]types.AttributeValue, len(m))
	for k, s := range m {
		values[k] = text(s)
	}
	it[name] = &types.AttributeValueMemberM{Value: values}
}

var (
	yes = &types.AttributeValueMemberBOOL{Value: true}
	no  = &types.AttributeValueMemberBOOL{Value: false}
)

func boolean(b bool) types.AttributeValue {
	if b {
		return yes
	}
	return no
}

// reader reads an item. An attribute that is missing is empty; one of the wrong type is
// an error, kept until the end: an item that somebody has broken must not be believed in
// part.
type reader struct {
	item item
	err  error
}

func (r *reader) fail(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("attribute %s has the wrong type", name)
	}
}

func (r *reader) text(name string) string {
	v, ok := r.item[name]
	if !ok {
		return ""
	}
	s, ok := v.(*types.AttributeValueMemberS)
	if !ok {
		r.fail(name)
		return ""
	}
	return s.Value
}

func (r *reader) int(name string) int64 {
	v, ok := r.item[name]
	if !ok {
		return 0
	}
	n, ok := v.(*types.AttributeValueMemberN)
	if !ok {
		r.fail(name)
		return 0
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		r.fail(name)
	}
	return i
}

func (r *reader) bool(name string) bool {
	v, ok := r.item[name]
	if !ok {
		return false
	}
	b, ok := v.(*types.AttributeValueMemberBOOL)
	if !ok {
		r.fail(name)
		return false
	}
	return b.Value
}

func (r *reader) time(name string) time.Time {
	if _, ok := r.item[name]; !ok {
		return time.Time{}
	}
	return time.UnixMilli(r.int(name)).UTC()
}

func (r *reader) bytes(name string) []byte {
	v, ok := r.item[name]
	if !ok {
		return nil
	}
	b, ok := v.(*types.AttributeValueMemberB)
	if !ok {
		r.fail(name)
		return nil
	}
	return b.Value
}

func (r *reader) list(name string) []string {
	v, ok := r.item[name]
	if !ok {
		return nil
	}
	l, ok := v.(*types.AttributeValueMemberL)
	if !ok {
		r.fail(name)
		return nil
	}
	out := make([]string, len(l.Value))
	for i, e := range l.Value {
		s, ok := e.(*types.AttributeValueMemberS)
		if !ok {
			r.fail(name)
			return nil
		}
		out[i] = s.Value
	}
	return out
}

func (r *reader) textMap(name string) map[string]string {
	v, ok := r.item[name]
	if !ok {
		return nil
	}
	m, ok := v.(*types.AttributeValueMemberM)
	if !ok {
		r.fail(name)
		return nil
	}
	out := make(map[string]string, len(m.Value))
	for k, e := range m.Value {
		s, ok := e.(*types.AttributeValueMemberS)
		if !ok {
			r.fail(name)
			return nil
		}
		out[k] = s.Value
	}
	return out
}
