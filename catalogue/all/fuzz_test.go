package all

import (
	"io"
	"math/rand"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"sigs.k8s.io/randfill"

	"clipper/api"
	"clipper/catalogue"
)

// TestMain hushes what apimachinery logs about addresses that only a fuzzer would make.
func TestMain(m *testing.M) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// rounds of random objects per kind.
const rounds = 60

func filler(seed int64) *randfill.Filler {
	return fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(seed), serializer.NewCodecFactory(scheme.Scheme)).
		NilChance(0.4).NumElements(0, 3).MaxDepth(14)
}

// random yields objects whose fields hold anything that their types can hold.
func random(t *testing.T, r *catalogue.Resource, visit func(t *testing.T, obj api.Object)) {
	f := filler(int64(len(r.Name)))
	for range rounds {
		obj := r.New()
		f.Fill(obj)
		visit(t, obj)
	}
}

// TestDefaultingIsIdempotent: defaults run again on every patch result.
func TestDefaultingIsIdempotent(t *testing.T) {
	for _, r := range Resources() {
		if r.Default == nil {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			random(t, r, func(t *testing.T, obj api.Object) {
				r.Default(obj)
				again := obj.DeepCopyObject().(api.Object)
				r.Default(again)
				if !equality.Semantic.DeepEqual(obj, again) {
					t.Fatalf("defaulting twice differs:\n%#v\n%#v", obj, again)
				}
			})
		})
	}
}

// cellsOf is how many cells a row has: one for each column, but for those of IPAddresses, whose age upstream shows in none.
func cellsOf(r *catalogue.Resource) int {
	if r.Name == "ipaddresses" {
		return len(r.Columns) + 1
	}
	return len(r.Columns)
}

// TestRowsFitColumns also shows that no object makes a row panic.
func TestRowsFitColumns(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, r := range Resources() {
		if r.Row == nil {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			check := func(t *testing.T, obj api.Object) {
				if got := len(r.Row(obj, now)); got != cellsOf(r) {
					t.Fatalf("%d cells for %d columns", got, len(r.Columns))
				}
			}
			check(t, r.New())
			random(t, r, check)
		})
	}
}

// TestStrategiesNeverPanic runs what the write pipeline runs, in its order, on random objects.
func TestStrategiesNeverPanic(t *testing.T) {
	for _, r := range Resources() {
		t.Run(r.Name, func(t *testing.T) {
			var old api.Object
			random(t, r, func(t *testing.T, obj api.Object) {
				if old == nil {
					old = obj.DeepCopyObject().(api.Object)
				}
				exercise(r, obj, old)
				old = obj
			})
			exercise(r, r.New(), r.New())
		})
	}
}

func exercise(r *catalogue.Resource, obj, old api.Object) {
	created, status := obj.DeepCopyObject().(api.Object), obj.DeepCopyObject().(api.Object)
	if r.Default != nil {
		r.Default(obj)
	}
	if r.PrepareCreate != nil {
		r.PrepareCreate(created)
	}
	if r.ValidateCreate != nil {
		_ = r.ValidateCreate(created).ToAggregate()
	}
	if r.Warnings != nil {
		r.Warnings(created, nil)
		r.Warnings(obj, old)
	}
	if r.Canonicalize != nil {
		r.Canonicalize(created)
	}
	if r.PrepareUpdate != nil {
		r.PrepareUpdate(obj, old)
	}
	if r.ValidateUpdate != nil {
		_ = r.ValidateUpdate(obj, old).ToAggregate()
	}
	if r.Status != nil {
		r.Status.Prepare(status, old)
		if r.Status.Validate != nil {
			_ = r.Status.Validate(status, old).ToAggregate()
		}
	}
	if r.Scale != nil {
		r.Scale.Replicas(obj)
		r.Scale.Selector(obj)
	}
	if r.GracePeriod != nil {
		r.GracePeriod(obj, nil)
	}
	for _, get := range r.Fields {
		get(obj)
	}
}
