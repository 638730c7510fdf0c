//go:build unix && !linux

package ddb

import "syscall"

const diesWithParent = false

func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
