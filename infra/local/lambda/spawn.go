package lambda

import (
	"os/exec"
	"runtime"
	"sync"
)

// spawner starts processes from one OS thread that lives as long as the spawner does.
// Pdeathsig is sent when the *thread* that started a process ends, which with Go's
// scheduler could be any time (https://github.com/golang/go/issues/27505).
type spawner struct {
	work chan func()
	once sync.Once
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

// start is cmd.Start.
func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error)
	s.work <- func() { done <- cmd.Start() }
	return <-done
}

// close ends the thread; no process may be left and no start may follow.
func (s *spawner) close() { s.once.Do(func() { close(s.work) }) }
