package usage

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keyreeve/keyreeve/pkg/usage"
)

// maxEnvelope in bytes is how large what CloudWatch Logs has compressed may become. A
// delivery is at most 1 MB of gzip or so; lines that repeat themselves, as an attacker's
// do, become thirty times that. More is refused before it fills the memory: then it waits
// in the queue for somebody to look.
const maxEnvelope = 64 << 20

// envelope is what CloudWatch Logs compresses.
type envelope struct {
	MessageType string `json:"messageType"`
	LogGroup    string `json:"logGroup"`
	LogStream   string `json:"logStream"`
	LogEvents   []struct {
		ID        string `json:"id"`
		Timestamp int64  `json:"timestamp"` // Unix milliseconds
		Message   string `json:"message"`
	} `json:"logEvents"`
}

// open reads what an event holds. ok is false for a message in which CloudWatch Logs only
// tries whether there is somebody. No error quotes a line.
func open(data []byte) (d usage.Delivery, ok bool, err error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return d, false, errors.New("awslogs.data is not gzip in base64")
	}
	text, err := io.ReadAll(io.LimitReader(z, maxEnvelope+1))
	if err != nil {
		return d, false, errors.New("awslogs.data is broken gzip")
	}
	if len(text) > maxEnvelope {
		return d, false, fmt.Errorf("awslogs.data is of more than %d bytes", maxEnvelope)
	}
	var e envelope
	if json.Unmarshal(text, &e) != nil {
		return d, false, errors.New("awslogs.data is not what CloudWatch Logs sends")
	}
	switch e.MessageType {
	case "DATA_MESSAGE":
	case "CONTROL_MESSAGE":
		return d, false, nil
	default:
		return d, false, errors.New("awslogs.data has an unknown messageType")
	}
	d = usage.Delivery{LogGroup: e.LogGroup, LogStream: e.LogStream, Lines: make([]usage.Line, 0, len(e.LogEvents))}
	for _, l := range e.LogEvents {
		line := usage.Line{ID: l.ID, Text: l.Message}
		if l.Timestamp > 0 {
			line.Timestamp = time.UnixMilli(l.Timestamp).UTC()
		}
		d.Lines = append(d.Lines, line)
	}
	return d, true, nil
}
