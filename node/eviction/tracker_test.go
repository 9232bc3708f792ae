package eviction

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/eviction/threshold"
)

func thresholds(t *testing.T, s threshold.Settings) []threshold.Threshold {
	t.Helper()
	out, err := threshold.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// observed reads "memory.available=500Mi/2Gi nodefs.available=1Gi/10Gi".
func observed(t *testing.T, text string) Observations {
	t.Helper()
	o := Observations{}
	for f := range strings.FieldsSeq(text) {
		signal, value, _ := strings.Cut(f, "=")
		available, capacity, _ := strings.Cut(value, "/")
		o[threshold.Signal(signal)] = Observation{resource.MustParse(available), resource.MustParse(capacity)}
	}
	return o
}

// TestTracker runs scripts: at each second given, what is measured and what follows from it.
func TestTracker(t *testing.T) {
	settings := threshold.Settings{
		Hard: map[string]string{"memory.available": "100Mi", "nodefs.available": "10%"},
		Soft: map[string]string{"memory.available": "300Mi"}, SoftGrace: map[string]string{"memory.available": "30s"},
		MinReclaim: map[string]string{"nodefs.available": "1Gi"},
	}
	for name, script := range map[string]string{
		"a hard threshold acts at once, its condition outlasts it": `
			0   memory.available=1Gi/2Gi  -> ; []
			10  memory.available=99Mi/2Gi -> memory.available<100Mi; [MemoryPressure]
			20  memory.available=1Gi/2Gi  -> ; [MemoryPressure]
			69  memory.available=1Gi/2Gi  -> ; [MemoryPressure]
			70  memory.available=1Gi/2Gi  -> ; []`,
		"exactly as much as asked for is enough": `
			0   memory.available=300Mi/2Gi -> ; []`,
		"a soft threshold waits, and anew after each break": `
			0   memory.available=200Mi/2Gi -> ; [MemoryPressure]
			20  memory.available=200Mi/2Gi -> ; [MemoryPressure]
			25  memory.available=400Mi/2Gi -> ; [MemoryPressure]
			30  memory.available=200Mi/2Gi -> ; [MemoryPressure]
			59  memory.available=200Mi/2Gi -> ; [MemoryPressure]
			60  memory.available=200Mi/2Gi -> memory.available<300Mi; [MemoryPressure]`,
		"what has starved goes on until enough is reclaimed": `
			0   nodefs.available=1500Mi/10Gi -> ; []
			10  nodefs.available=1000Mi/10Gi -> nodefs.available<10%; [DiskPressure]
			20  nodefs.available=2000Mi/10Gi -> nodefs.available<10%; [DiskPressure]
			30  nodefs.available=2100Mi/10Gi -> ; [DiskPressure]
			40  nodefs.available=2000Mi/10Gi -> ; [DiskPressure]`,
		"memory comes first": `
			0   nodefs.available=1/10Gi memory.available=1Mi/2Gi -> memory.available<100Mi nodefs.available<10%; [DiskPressure MemoryPressure]`,
		"what cannot be measured is not short": `
			0   pid.available=1/2 -> ; []`,
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(thresholds(t, settings), time.Minute)
			for line := range strings.Lines(strings.TrimSpace(script)) {
				in, want, _ := strings.Cut(strings.TrimSpace(line), " -> ")
				at, measured, _ := strings.Cut(in, " ")
				second, err := strconv.Atoi(at)
				if err != nil {
					t.Fatal(err)
				}
				starved, conditions := tr.observe(observed(t, measured), time.Unix(int64(second), 0))
				var names []string
				for _, s := range starved {
					v := fmt.Sprintf("%g%%", s.Value.Share*100)
					if s.Value.Quantity != nil {
						v = s.Value.Quantity.String()
					}
					names = append(names, string(s.Signal)+"<"+v)
				}
				if got := fmt.Sprintf("%s; %s", strings.Join(names, " "), conditions); got != want {
					t.Errorf("at %s: got %q, want %q", at, got, want)
				}
			}
		})
	}
}
