// Package limit is the arithmetic of a strict sliding limit: pure functions of a stored
// window and a time. See window.go.
package limit
