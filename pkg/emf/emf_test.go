package emf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at() time.Time { return time.UnixMilli(1_768_473_000_123) }

func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name       string
		dimensions []Dimension
		metrics    []Metric
		want       string
	}{
		{
			"no dimension", nil,
			[]Metric{{LinesCounted, Count, 120}, {Lag, Milliseconds, 1500.25}, {Drift, Count, 0}},
			`{"_aws":{"Timestamp":1768473000123,"CloudWatchMetrics":[{"Namespace":"Keyreeve","Dimensions":[[]],` +
				`"Metrics":[{"Name":"LinesCounted","Unit":"Count"},{"Name":"Lag","Unit":"Milliseconds"},{"Name":"Drift","Unit":"Count"}]}]},` +
				`"LinesCounted":120,"Lag":1500.25,"Drift":0}`,
		},
		{
			"dimensions, and names that need escapes", []Dimension{{"Function", "usage"}, {"Stage", `a"b\`}},
			[]Metric{{Name: "n\n", Value: -12e20}},
			`{"_aws":{"Timestamp":1768473000123,"CloudWatchMetrics":[{"Namespace":"Keyreeve","Dimensions":[["Function","Stage"]],` +
				`"Metrics":[{"Name":"n\n"}]}]},"Function":"usage","Stage":"a\"b\\","n\n":-1200000000000000000000}`,
		},
	} {
		var out bytes.Buffer
		if err := New(&out, "Keyreeve", at).Put(tt.dimensions, tt.metrics...); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want+"\n", out.String()); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		if err := conforms(out.Bytes()); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// conforms checks a line against the rules of the specification: its schema, and that
// every member a directive names is there with the right type.
func conforms(line []byte) error {
	if bytes.Count(line, []byte("\n")) != 1 || !bytes.HasSuffix(line, []byte("\n")) {
		return errors.New("not one line")
	}
	if len(line) > 256<<10 {
		return errors.New("over 256 KiB")
	}
	var root map[string]any
	if err := json.Unmarshal(line, &root); err != nil {
		return err
	}
	var aws struct {
		Timestamp         int64
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name, Unit string }
		}
	}
	text, _ := json.Marshal(root["_aws"])
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&aws); err != nil {
		return fmt.Errorf("_aws: %w", err)
	}
	if aws.Timestamp <= 0 || len(aws.CloudWatchMetrics) == 0 {
		return errors.New("no timestamp, or no directive")
	}
	named := 1
	for _, d := range aws.CloudWatchMetrics {
		if len(d.Namespace) < 1 || len(d.Namespace) > 1024 || len(d.Dimensions) < 1 || len(d.Metrics) < 1 || len(d.Metrics) > 100 {
			return errors.New("a directive of the wrong size")
		}
		for _, set := range d.Dimensions {
			if len(set) > 30 {
				return errors.New("over 30 dimensions")
			}
			for _, name := range set {
				if v, ok := root[name].(string); !ok || v == "" || len(v) > 1024 || len(name) > 250 {
					return fmt.Errorf("dimension %q", name)
				}
				named++
			}
		}
		for _, m := range d.Metrics {
			if _, ok := root[m.Name].(float64); !ok {
				return fmt.Errorf("metric %q has no number", m.Name)
			}
			if m.Unit != "" && m.Unit != "Count" && m.Unit != "Milliseconds" {
				return fmt.Errorf("unit %q", m.Unit)
			}
			named++
		}
	}
	if named != len(root) {
		return fmt.Errorf("%d members, of which %d are named: one is there twice, or for nothing", len(root), named)
	}
	return nil
}

func TestAsMuchAsTheSpecificationAllows(t *testing.T) {
	dimensions, metrics := limits()
	var out bytes.Buffer
	if err := New(&out, strings.Repeat("n", 1024), at).Put(dimensions, metrics...); err != nil {
		t.Fatal(err)
	}
	if err := conforms(out.Bytes()); err != nil {
		t.Error(err)
	}
}

func limits() (dimensions []Dimension, metrics []Metric) {
	for i := range 30 {
		dimensions = append(dimensions, Dimension{fmt.Sprintf("%0250d", i), strings.Repeat("v", 1024)})
	}
	for i := range 100 {
		metrics = append(metrics, Metric{fmt.Sprintf("%0*d", 1024-4*i, i), Milliseconds, 0x1p360})
	}
	return dimensions, metrics
}

func TestWhatCloudWatchWouldDropIsAnErrorAndNotWritten(t *testing.T) {
	dimensions, metrics := limits()
	one := Metric{LinesCounted, Count, 1}
	for name, tt := range map[string]struct {
		namespace  string
		dimensions []Dimension
		metrics    []Metric
	}{
		"no namespace":            {"", nil, []Metric{one}},
		"a long namespace":        {strings.Repeat("n", 1025), nil, []Metric{one}},
		"no metric":               {"N", nil, nil},
		"101 metrics":             {"N", nil, append(metrics, one)},
		"31 dimensions":           {"N", append(dimensions, Dimension{"x", "y"}), []Metric{one}},
		"a metric without a name": {"N", nil, []Metric{{"", Count, 1}}},
		"a metric's long name":    {"N", nil, []Metric{{strings.Repeat("n", 1025), Count, 1}}},
		"a metric twice":          {"N", nil, []Metric{one, one}},
		"a metric named _aws":     {"N", nil, []Metric{{"_aws", Count, 1}}},
		"a dimension twice":       {"N", []Dimension{{"x", "y"}, {"x", "z"}}, []Metric{one}},
		"a dimension's long name": {"N", []Dimension{{strings.Repeat("n", 251), "y"}}, []Metric{one}},
		"a dimension's value":     {"N", []Dimension{{"x", ""}}, []Metric{one}},
		"a dimension and metric":  {"N", []Dimension{{LinesCounted, "y"}}, []Metric{one}},
		"not a number":            {"N", nil, []Metric{{"x", Count, math.NaN()}}},
		"infinity":                {"N", nil, []Metric{{"x", Count, math.Inf(-1)}}},
		"over 256 KiB":            {"N", []Dimension{{"x", strings.Repeat("\n", 1024)}}, escaped(metrics)},
		"over 2^360":              {"N", nil, []Metric{{"x", Count, 0x1p361}}},
	} {
		var out bytes.Buffer
		if err := New(&out, tt.namespace, at).Put(tt.dimensions, tt.metrics...); err == nil || out.Len() != 0 {
			t.Errorf("%s: error %v, %d bytes written; want an error and nothing", name, err, out.Len())
		}
	}
}

// escaped are the metrics with names that JSON writes at six times the length.
func escaped(metrics []Metric) []Metric {
	out := slices.Clone(metrics)
	for i := range out {
		out[i].Name = strings.ReplaceAll(out[i].Name, "0", "\x01")
	}
	return out
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWhatDidNotHappenLeavesNoValue(t *testing.T) {
	var out bytes.Buffer
	w := New(&out, "Keyreeve", at)
	if err := w.PutSome(nil, Metric{Drift, Count, 0}, Metric{LinesDuplicate, Count, 0}); err != nil || out.Len() > 0 {
		t.Errorf("two zeros: %v, and the line %s; want none", err, out.String())
	}
	if err := w.PutSome(nil, Metric{Drift, Count, 0}, Metric{LinesCounted, Count, 3}); err != nil {
		t.Fatal(err)
	}
	want := `{"_aws":{"Timestamp":1768473000123,"CloudWatchMetrics":[{"Namespace":"Keyreeve","Dimensions":[[]],` +
		`"Metrics":[{"Name":"LinesCounted","Unit":"Count"}]}]},"LinesCounted":3}` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAFailedWriteIsAnError(t *testing.T) {
	if err := New(broken{}, "N", nil).Put(nil, Metric{LinesCounted, Count, 1}); err == nil {
		t.Error("no error")
	}
}

func TestLinesOfManyWritersStayWhole(t *testing.T) {
	var out bytes.Buffer
	w := New(&out, "N", at)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := w.Put(nil, Metric{LinesCounted, Count, 1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	lines := bytes.SplitAfter(out.Bytes(), []byte("\n"))
	if len(lines) != 401 {
		t.Fatalf("%d lines, want 400", len(lines)-1)
	}
	for _, line := range lines[:400] {
		if err := conforms(line); err != nil {
			t.Fatal(err)
		}
	}
}
