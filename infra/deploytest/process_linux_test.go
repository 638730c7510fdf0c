package deploytest

import "syscall"

// childAttributes make the emulator a process group of its own, which ends with the test
// even when that is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
