// Package exposition decides what of the metrics that a server counts is shown: not those that are switched off, and of
// labels that are restricted only the values that are allowed. What has another value is added up under one, so that
// whoever collects the metrics keeps no series for each.
package exposition

import (
	"cmp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// unexpected stands for the values of a label that are not allowed.
const unexpected = "unexpected"

// A View is what is shown. The zero value shows everything.
type View struct {
	hidden  map[string]bool
	allowed map[string]map[string][]string // values, by metric and label
}

// New returns a view without the hidden metrics. allowed are lists of values, comma separated, by metric,label.
func New(hidden []string, allowed map[string]string) View {
	v := View{hidden: map[string]bool{}, allowed: map[string]map[string][]string{}}
	for _, name := range hidden {
		v.hidden[name] = true
	}
	for key, values := range allowed {
		metric, label, _ := strings.Cut(key, ",")
		if v.allowed[metric] == nil {
			v.allowed[metric] = map[string][]string{}
		}
		v.allowed[metric][label] = strings.Split(values, ",")
	}
	return v
}

// Show returns what is shown of families. It does not change them.
func (v View) Show(families []*dto.MetricFamily) []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, 0, len(families))
	for _, f := range families {
		if v.hidden[f.GetName()] {
			continue
		}
		if allowed := v.allowed[f.GetName()]; allowed != nil {
			f = restrict(f, allowed)
		}
		out = append(out, f)
	}
	return out
}

// restrict adds up the metrics of a family that are the same but for values that are not allowed.
func restrict(f *dto.MetricFamily, allowed map[string][]string) *dto.MetricFamily {
	out := &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit}
	known := map[string]*dto.Metric{}
	for _, m := range f.Metric {
		labels := constrain(m.Label, allowed)
		key := keyOf(labels)
		if known[key] == nil {
			known[key] = copyOf(m, labels)
			out.Metric = append(out.Metric, known[key])
			continue
		}
		add(known[key], m)
	}
	slices.SortFunc(out.Metric, func(a, b *dto.Metric) int { return cmp.Compare(keyOf(a.Label), keyOf(b.Label)) })
	return out
}

func constrain(labels []*dto.LabelPair, allowed map[string][]string) []*dto.LabelPair {
	out := slices.Clone(labels)
	for i, l := range labels {
		if values, ok := allowed[l.GetName()]; ok && !slices.Contains(values, l.GetValue()) {
			value := unexpected
			out[i] = &dto.LabelPair{Name: l.Name, Value: &value}
		}
	}
	return out
}

// keyOf tells lists of labels apart, which come in one order.
func keyOf(labels []*dto.LabelPair) string {
	var key strings.Builder
	for _, l := range labels {
		key.WriteString(l.GetValue() + "\xff")
	}
	return key.String()
}
