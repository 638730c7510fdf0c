package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"
)

// batch is a file of the spool: the group in its first line, an event in each other.
//
//	{"name":"access","stream":"local","filter":"usage"}
//	{"id":"0176…","timestamp":1767225600000,"message":"{…}"}
type batch struct {
	name  string
	group Group // of an open one; so are the next ones
	file  *os.File
	timer *time.Timer
	lines int
	bytes int
	done  chan struct{} // closed when it was delivered
}

// event is a line as CloudWatch Logs hands it on.
type event struct {
	ID        string `json:"id"`
	Timestamp int64  `json:"timestamp"` // in milliseconds
	Message   string `json:"message"`
}

// newEvent gives a line the id that it keeps: 56 digits, as AWS's have, of which the first
// 17 are its time.
func newEvent(now time.Time, line string) event {
	n, _ := rand.Int(rand.Reader, new(big.Int).Exp(big.NewInt(10), big.NewInt(39), nil)) // fails only if the reader does, which never does
	return event{ID: fmt.Sprintf("%017d%039s", now.UnixMilli(), n), Timestamp: now.UnixMilli(), Message: line}
}

// head is the first line of a batch's file.
type head struct {
	Name   string `json:"name"`
	Stream string `json:"stream"`
	Filter string `json:"filter"`
}

func newBatch(name string, g Group) (*batch, error) {
	// It must not be there: what is closed never changes.
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	b := &batch{name: name, group: g, file: f, done: make(chan struct{})}
	if err := b.append(head(g)); err != nil {
		_ = f.Close()
		_ = os.Remove(name)
		return nil, err
	}
	return b, nil
}

func (b *batch) add(e event) error {
	if err := b.append(e); err != nil {
		return err
	}
	b.lines++
	return nil
}

// append writes a line in one piece.
func (b *batch) append(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	n, err := b.file.Write(append(line, '\n'))
	b.bytes += n
	return err
}

// payload is the batch as Lambda gets it, or nil if it holds no line
// (https://docs.aws.amazon.com/lambda/latest/dg/services-cloudwatchlogs.html). What has no
// end was not taken: the program was killed while it wrote that.
func (b *batch) payload(owner string) ([]byte, error) {
	f, err := os.Open(b.name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var h head
	data := envelope{MessageType: "DATA_MESSAGE", Owner: owner}
	r := bufio.NewReader(f)
	for n := 0; ; n++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			err = json.Unmarshal(line, &h)
		} else {
			var e event
			err = json.Unmarshal(line, &e)
			data.Events = append(data.Events, e)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d of the batch is not what was written", n+1)
		}
	}
	if len(data.Events) == 0 {
		return nil, nil
	}
	data.Group, data.Stream, data.Filters = h.Name, h.Stream, []string{h.Filter}
	return data.encode()
}

// envelope is what CloudWatch Logs puts around lines.
type envelope struct {
	MessageType string   `json:"messageType"`
	Owner       string   `json:"owner"`
	Group       string   `json:"logGroup"`
	Stream      string   `json:"logStream"`
	Filters     []string `json:"subscriptionFilters"`
	Events      []event  `json:"logEvents"`
}

func (e envelope) encode() ([]byte, error) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if err := json.NewEncoder(w).Encode(e); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	var out struct {
		AWSLogs struct {
			Data []byte `json:"data"` // in base64, as encoding/json has it
		} `json:"awslogs"`
	}
	out.AWSLogs.Data = zipped.Bytes()
	return json.Marshal(out)
}
