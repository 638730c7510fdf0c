package order_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/pkg/order"
)

func TestByIsTheOrderOfSlices(t *testing.T) {
	type pair struct{ a, b int }
	compare := func(x, y pair) int { return cmp.Or(cmp.Compare(x.a, y.a), cmp.Compare(y.b, x.b)) }
	for n := range 200 {
		list := make([]pair, n)
		for i := range list {
			list[i] = pair{rand.IntN(7), rand.IntN(n)}
		}
		want := slices.Clone(list)
		slices.SortFunc(want, compare)
		if order.By(list, compare); !slices.Equal(list, want) {
			t.Fatalf("%d pairs: %v, want %v", n, list, want)
		}
	}
}
