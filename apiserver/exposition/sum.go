package exposition

import dto "github.com/prometheus/client_model/go"

// copyOf returns a metric with other labels, to which others can be added. Exemplars, and quantiles, which cannot be added
// up, are left out.
func copyOf(m *dto.Metric, labels []*dto.LabelPair) *dto.Metric {
	out := &dto.Metric{Label: labels}
	switch {
	case m.Counter != nil:
		out.Counter = &dto.Counter{Value: sum(0, m.Counter.GetValue())}
	case m.Gauge != nil:
		out.Gauge = &dto.Gauge{Value: sum(0, m.Gauge.GetValue())}
	case m.Untyped != nil:
		out.Untyped = &dto.Untyped{Value: sum(0, m.Untyped.GetValue())}
	case m.Summary != nil:
		out.Summary = &dto.Summary{SampleCount: sum(0, m.Summary.GetSampleCount()), SampleSum: sum(0, m.Summary.GetSampleSum())}
	case m.Histogram != nil:
		out.Histogram = &dto.Histogram{SampleCount: sum(0, m.Histogram.GetSampleCount()), SampleSum: sum(0, m.Histogram.GetSampleSum())}
		for _, b := range m.Histogram.Bucket {
			out.Histogram.Bucket = append(out.Histogram.Bucket, &dto.Bucket{UpperBound: b.UpperBound, CumulativeCount: sum(0, b.GetCumulativeCount())})
		}
	}
	return out
}

// add adds a metric to another of its family, so of the same type and with the same buckets.
func add(to, m *dto.Metric) {
	switch {
	case to.Counter != nil:
		to.Counter.Value = sum(to.Counter.GetValue(), m.Counter.GetValue())
	case to.Gauge != nil:
		to.Gauge.Value = sum(to.Gauge.GetValue(), m.Gauge.GetValue())
	case to.Untyped != nil:
		to.Untyped.Value = sum(to.Untyped.GetValue(), m.Untyped.GetValue())
	case to.Summary != nil:
		to.Summary.SampleCount = sum(to.Summary.GetSampleCount(), m.Summary.GetSampleCount())
		to.Summary.SampleSum = sum(to.Summary.GetSampleSum(), m.Summary.GetSampleSum())
	case to.Histogram != nil:
		to.Histogram.SampleCount = sum(to.Histogram.GetSampleCount(), m.Histogram.GetSampleCount())
		to.Histogram.SampleSum = sum(to.Histogram.GetSampleSum(), m.Histogram.GetSampleSum())
		for i, b := range to.Histogram.Bucket {
			if i < len(m.Histogram.GetBucket()) {
				b.CumulativeCount = sum(b.GetCumulativeCount(), m.Histogram.Bucket[i].GetCumulativeCount())
			}
		}
	}
}

func sum[N uint64 | float64](a, b N) *N {
	c := a + b
	return &c
}
