// Package emf writes metrics as log lines in CloudWatch's embedded metric format
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
// CloudWatch Logs makes metrics of what a function prints, so nothing calls an API and no
// function needs a permission for it.
//
// The model: a [Writer] has a namespace; each Put is one line, with one set of dimensions
// and a value for each metric. names.go is the one home of the metrics' names: functions
// write them, the alarms and the dashboard read them.
//
// Promises: a line is a whole JSON object, written by one Write; what the specification
// does not allow is an error and not written, for CloudWatch drops it without a word.
package emf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Unit of a metric, as CloudWatch names it
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html).
type Unit string

// The units that are in use.
const (
	Count        Unit = "Count"
	Milliseconds Unit = "Milliseconds"
)

// Metric is one value. Its statistics (Sum, Maximum, …) are chosen by who reads it.
type Metric struct {
	Name  string
	Unit  Unit
	Value float64
}

// Dimension is a name and a value that tells metrics of one name apart. Each combination
// of values is a metric of its own, and billed: no key, account or address belongs here.
type Dimension struct{ Name, Value string }

// Writer writes lines. It is safe for concurrent use.
type Writer struct {
	mu        sync.Mutex
	out       io.Writer
	namespace string
	clock     func() time.Time
}

// New returns a Writer of lines to out: standard output or error, in a function. clock nil
// is time.Now.
func New(out io.Writer, namespace string, clock func() time.Time) *Writer {
	if clock == nil {
		clock = time.Now
	}
	return &Writer{out: out, namespace: namespace, clock: clock}
}

// Limits of the specification's schema, in characters and members, and of a line in bytes
// (a log event's; the page has said 256 KB and 1 MB, so the smaller).
const (
	maxLine           = 256 << 10
	maxNamespace      = 1024
	maxMetrics        = 100
	maxMetricName     = 1024
	maxDimensions     = 30
	maxDimensionName  = 250
	maxDimensionValue = 1024
)

// metadata is the member of the root that says what the others are.
const metadata = "_aws"

type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

type definition struct {
	Name string
	Unit Unit `json:",omitempty"`
}

// Put writes a line with these metrics, at least one. The dimensions may be none: then
// there is one metric for the whole namespace.
func (w *Writer) Put(dimensions []Dimension, metrics ...Metric) error {
	line, err := w.line(dimensions, metrics)
	if err != nil {
		return fmt.Errorf("emf: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(line); err != nil {
		return fmt.Errorf("emf: writing a line: %w", err)
	}
	return nil
}

// PutSome is Put without the metrics that are 0, and nothing where all of them are: what
// did not happen needs no value, and a metric costs by the hour in which it has one
// (https://aws.amazon.com/cloudwatch/pricing/).
func (w *Writer) PutSome(dimensions []Dimension, metrics ...Metric) error {
	some := slices.DeleteFunc(slices.Clone(metrics), func(m Metric) bool { return m.Value == 0 })
	if len(some) == 0 {
		return nil
	}
	return w.Put(dimensions, some...)
}

func (w *Writer) line(dimensions []Dimension, metrics []Metric) ([]byte, error) {
	if !sized(w.namespace, maxNamespace) {
		return nil, errors.New("the namespace is empty or too long")
	}
	if len(metrics) == 0 || len(metrics) > maxMetrics {
		return nil, fmt.Errorf("%d metrics, want 1 to %d", len(metrics), maxMetrics)
	}
	if len(dimensions) > maxDimensions {
		return nil, fmt.Errorf("%d dimensions, want at most %d", len(dimensions), maxDimensions)
	}
	d := directive{Namespace: w.namespace, Dimensions: [][]string{{}}}
	var members []byte
	taken := map[string]bool{metadata: true}
	for i, dim := range dimensions {
		if !sized(dim.Name, maxDimensionName) || !sized(dim.Value, maxDimensionValue) || taken[dim.Name] {
			return nil, fmt.Errorf("dimension %d: its name or value is empty, too long, or taken", i)
		}
		taken[dim.Name] = true
		d.Dimensions[0] = append(d.Dimensions[0], dim.Name)
		members = appendMember(members, dim.Name, quoted(dim.Value))
	}
	for i, m := range metrics {
		if !sized(m.Name, maxMetricName) || taken[m.Name] {
			return nil, fmt.Errorf("metric %d: its name is empty, too long, or taken", i)
		}
		// CloudWatch takes no NaN and no infinity, and nothing past 2^360 (API_MetricDatum).
		if math.IsNaN(m.Value) || math.Abs(m.Value) > 0x1p360 {
			return nil, fmt.Errorf("metric %s: its value is none that CloudWatch takes", m.Name)
		}
		taken[m.Name] = true
		d.Metrics = append(d.Metrics, definition{m.Name, m.Unit})
		members = appendMember(members, m.Name, strconv.AppendFloat(nil, m.Value, 'f', -1, 64))
	}
	head, err := json.Marshal(struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}{w.clock().UnixMilli(), []directive{d}})
	if err != nil {
		return nil, err
	}
	line := append([]byte(`{"`+metadata+`":`), head...)
	line = append(append(line, members...), "}\n"...)
	if len(line) > maxLine {
		return nil, fmt.Errorf("a line of %d bytes, want at most %d", len(line), maxLine)
	}
	return line, nil
}

func sized(s string, most int) bool { return s != "" && utf8.RuneCountInString(s) <= most }

func appendMember(dst []byte, name string, value []byte) []byte {
	dst = append(append(dst, ','), quoted(name)...)
	return append(append(dst, ':'), value...)
}

func quoted(s string) []byte {
	text, _ := json.Marshal(s) // a string always has its JSON
	return text
}
