// Package order sorts lists of structs with one algorithm for all of them. The slices
// package compiles a copy of its own for each type, 10 to 30 KB where the type is large, and
// the binary has two dozen such types: a quarter of a megabyte that every cold start loads.
package order

import "sort"

// By sorts the list as slices.SortFunc does, which is not stable.
func By[T any](list []T, compare func(a, b T) int) {
	sort.Slice(list, func(i, j int) bool { return compare(list[i], list[j]) < 0 })
}
