package stack

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// listen opens a port on loopback: 127.0.0.1, and ::1 where there is one, since
// "localhost" may mean either. Port 0 picks one that is free on both.
func listen(port int) ([]net.Listener, error) {
	for try := 1; ; try++ {
		listeners, err := listenBoth(port)
		if port == 0 && errors.Is(err, syscall.EADDRINUSE) && try < 10 {
			continue
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("port %d is in use by another program: stop that one, or choose another port with PORT=", port)
		}
		return listeners, err
	}
}

func listenBoth(port int) ([]net.Listener, error) {
	four, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	port = four.Addr().(*net.TCPAddr).Port
	six, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_ = four.Close()
		return nil, err
	}
	return []net.Listener{four}, nil // no IPv6 here
}
