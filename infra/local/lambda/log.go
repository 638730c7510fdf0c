package lambda

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"sync"
	"time"
)

// lineLog lets many processes write to one writer without mixing their lines.
type lineLog struct {
	mu sync.Mutex
	w  io.Writer
}

// maxLineBytes is when a line is passed on although its end has not come.
const maxLineBytes = 64 << 10

// output takes what one process writes and passes it on in whole lines.
//
// Its pipe has two writers: the process, and sync, which puts a mark behind what the
// process has written and waits until the reader has come to it. So what a function wrote
// before it answered has been passed on before its caller hears of the answer.
type output struct {
	log      *lineLog
	function string
	onLine   func(function, line string) bool

	r, w   *os.File
	mark   []byte        // no process knows it, so none writes it
	synced chan struct{} // a mark was read
	ended  chan struct{} // closed when the last line has been passed on
	line   []byte        // what has come of it; the reader's alone
}

// keptOpen is how long an output waits for a pipe that a grandchild has kept.
const keptOpen = time.Second

func (r *Runtime) newOutput(function string) (*output, error) {
	o := &output{
		log: r.log, function: function, onLine: r.opts.OnLine,
		mark: []byte("\x00" + rand.Text()), synced: make(chan struct{}), ended: make(chan struct{}),
	}
	var err error
	if o.r, o.w, err = os.Pipe(); err != nil {
		return nil, err
	}
	go o.read()
	return o, nil
}

// sync returns when all that the process has written so far was passed on.
func (o *output) sync() {
	if _, err := o.w.Write(o.mark); err != nil { // shorter than PIPE_BUF, so in one piece
		return // closed: close has waited for the rest
	}
	select {
	case <-o.synced:
	case <-o.ended:
	}
}

// close passes on what is left. The process has ended.
func (o *output) close() {
	_ = o.w.Close()
	select {
	case <-o.ended:
	case <-time.After(keptOpen):
	}
	_ = o.r.Close()
	<-o.ended
}

func (o *output) read() {
	defer close(o.ended)
	var held []byte
	for buf := make([]byte, 32<<10); ; {
		n, err := o.r.Read(buf)
		held = append(held, buf[:n]...)
		for {
			i := bytes.Index(held, o.mark)
			if i < 0 {
				break
			}
			o.add(held[:i])
			held = held[i+len(o.mark):]
			o.synced <- struct{}{}
		}
		// The beginning of a mark waits for the rest of it.
		whole := len(held)
		if i := bytes.LastIndexByte(held, o.mark[0]); i >= 0 && bytes.HasPrefix(o.mark, held[i:]) && err == nil {
			whole = i
		}
		o.add(held[:whole])
		held = append([]byte(nil), held[whole:]...)
		if err != nil {
			if len(o.line) > 0 {
				o.pass(o.line)
			}
			return
		}
	}
}

func (o *output) add(b []byte) {
	o.line = append(o.line, b...)
	for {
		i := bytes.IndexByte(o.line, '\n')
		if i < 0 && len(o.line) < maxLineBytes {
			return
		}
		if i < 0 {
			i = len(o.line) - 1
		}
		o.pass(o.line[:i+1])
		o.line = append(o.line[:0], o.line[i+1:]...)
	}
}

func (o *output) pass(text []byte) {
	text = bytes.TrimRight(text, "\r\n")
	if o.onLine != nil && !o.onLine(o.function, string(text)) {
		return
	}
	out := append([]byte("["+o.function+"] "), text...)
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	// A log that cannot be written must not stop the function.
	_, _ = o.log.w.Write(append(out, '\n'))
}
