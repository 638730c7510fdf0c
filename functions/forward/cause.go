package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// describe puts the cause of a failure into words that quote neither the request nor the
// answer: net/http's errors hold lines of what a broken server has sent.
func describe(err error) string {
	var (
		dns         *net.DNSError
		operation   *net.OpError
		number      syscall.Errno
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		authority   x509.UnknownAuthorityError
		refused     *InvokeError
		late        interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errStatus), errors.Is(err, errFunction), errors.Is(err, errMalformed), errors.As(err, &refused):
		return err.Error()
	case errors.As(err, &dns):
		return "looking up the host: " + dns.Err
	case errors.Is(err, context.DeadlineExceeded):
		return "the time is over"
	case errors.As(err, &authority):
		return "TLS: the certificate is signed by nobody known"
	case errors.As(err, &certificate):
		return "TLS: the certificate does not verify"
	case errors.As(err, &record), errors.As(err, &alert):
		return "TLS: " + fmt.Sprintf("%T", err)
	case errors.As(err, &number) && errors.As(err, &operation):
		return operation.Op + ": " + number.Error()
	case errors.As(err, &late) && late.Timeout():
		return "the time to connect is over"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "the connection was closed within the answer"
	}
	return fmt.Sprintf("no HTTP: %T", err)
}
