package resourcemetrics

import (
	"strconv"
	"strings"
	"time"
)

// A sample is a line of Prometheus' text format.
type sample struct {
	name   string
	labels map[string]string
	value  float64
	at     time.Time // zero: the line has none
}

// parseSample reads a line of the form
//
//	name{label="value",...} number milliseconds
//
// whose labels and time may be missing. ok is false for comments, and for what is not of that form.
func parseSample(line string) (s sample, ok bool) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 || line[0] == '#' {
		return s, false
	}
	s.name, line = line[:end], line[end:]
	if line[0] == '{' {
		if s.labels, line, ok = parseLabels(line[1:]); !ok {
			return s, false
		}
	}
	fields := strings.Fields(line)
	if len(fields) == 0 || len(fields) > 2 {
		return s, false
	}
	var err error
	if s.value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return s, false
	}
	if len(fields) == 2 {
		ms, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return s, false
		}
		s.at = time.UnixMilli(ms)
	}
	return s, true
}

var unescape = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")

// parseLabels reads what stands between braces, and returns what follows the closing one.
func parseLabels(in string) (labels map[string]string, rest string, ok bool) {
	labels = map[string]string{}
	for {
		in = strings.TrimLeft(in, ", ")
		if after, closed := strings.CutPrefix(in, "}"); closed {
			return labels, after, true
		}
		name, after, found := strings.Cut(in, `="`)
		end := closingQuote(after)
		if !found || end < 0 {
			return nil, "", false
		}
		labels[strings.TrimSpace(name)] = unescape.Replace(after[:end])
		in = after[end+1:]
	}
}

// closingQuote returns where the first quotation mark is that no backslash stands before.
func closingQuote(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
