package lambda

import "syscall"

// attributes of a process: a group of its own, so that Ctrl-C in a terminal reaches this
// program alone, which then stops its processes in order; and death with its parent.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
