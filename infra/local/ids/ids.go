// Package ids makes the identifiers that API Gateway, Lambda and Secrets Manager put on
// what they do.
package ids

import (
	"crypto/rand"
	"fmt"
)

// UUID returns a random UUID (RFC 9562, version 4).
func UUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Hex returns n random bytes in hexadecimal.
func Hex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x", b)
}
