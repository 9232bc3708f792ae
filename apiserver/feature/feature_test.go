package feature

import (
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/features"
	"k8s.io/component-base/featuregate"
)

// library is what upstream's libraries say, before anything else is registered.
var library = Gate.GetAll()

func TestSet(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wanted map[string][]string
		err    string
	}{
		{"nothing", nil, ""},
		{"what there is", map[string][]string{"": {"CBORServingAndStorage=true", "WatchList=false"}}, ""},
		{"about upstream's inside", map[string][]string{"": {"DetectCacheInconsistency=false", "ListFromCacheSnapshot=false"}}, ""},
		{"by component", map[string][]string{"kube": {"CBORServingAndStorage=true"}}, ""},
		{"as it is", map[string][]string{"": {"GangScheduling=false", "PodLevelResources=true", "SidecarContainers=true", "AllAlpha=false"}}, ""},
		{"of client-go", map[string][]string{"": {"ClientsPreferCBOR=false", "WatchListClient=true"}}, ""},
		{"of client-go, moved", map[string][]string{"": {"ClientsAllowCBOR=true"}}, "feature gate ClientsAllowCBOR cannot be true: not supported here"},
		{"unheard of", map[string][]string{"": {"Nonsense=true"}}, "unrecognized feature gate: Nonsense"},
		{"no value", map[string][]string{"": {"WatchList"}}, `missing bool value for WatchList`},
		{"no bool", map[string][]string{"": {"WatchList=x"}}, `invalid value of WatchList=x, err: strconv.ParseBool: parsing "x": invalid syntax`},
		{"locked", map[string][]string{"": {"SidecarContainers=false"}}, "cannot set feature gate SidecarContainers to false, feature is locked to true"},
		{"not here", map[string][]string{"": {"GangScheduling=true", "GenericWorkload=true"}},
			"feature gate GangScheduling cannot be true: not supported here; leave it at false\nfeature gate GenericWorkload cannot be true: not supported here; leave it at false"},
		{"not without", map[string][]string{"": {"PodLevelResources=false"}}, "feature gate PodLevelResources cannot be false: not supported here"},
		{"not here, though upstream has it", map[string][]string{"": {"UnknownVersionInteroperabilityProxy=true"}}, "feature gate UnknownVersionInteroperabilityProxy cannot be true: not supported here; leave it at false"},
		{"as it is here", map[string][]string{"": {"UnknownVersionInteroperabilityProxy=false"}}, ""},
		{"all alpha", map[string][]string{"": {"AllAlpha=true"}}, "not supported here"},
		{"other component", map[string][]string{"wardle": {"A=true"}}, "component not registered: wardle"},
		{"both ways", map[string][]string{"": {"WatchList=true"}, "kube": {"WatchList=true"}}, "do not mix use"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := Gate.DeepCopy()
			if err := Register(g); err != nil {
				t.Fatal(err)
			}
			err := Set(g, tt.wanted)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			on := strings.Contains(strings.Join(append(tt.wanted[""], tt.wanted["kube"]...), ","), "CBORServingAndStorage=true")
			if g.Enabled(features.CBORServingAndStorage) != on {
				t.Errorf("CBOR %v, want %v", !on, on)
			}
			if err != nil && !g.Enabled(features.WatchList) {
				t.Error("a gate has moved in spite of the error")
			}
		})
	}
}

// TestNames: what can be moved is a gate, is not locked, and begins at upstream's default.
func TestNames(t *testing.T) {
	all := Gate.DeepCopy()
	if err := Register(all); err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Concat(movable, inner) {
		if spec, ok := all.GetAll()[name]; !ok || spec.LockToDefault {
			t.Errorf("%s: known %v, locked %v", name, ok, spec.LockToDefault)
		}
	}
	if !Enabled(NodeAudienceRestriction) || !Enabled(PodWebsocketCreatePermission) {
		t.Error("a feature is not as by default")
	}
}

// TestKnown: where upstream's libraries know a gate as well, the list says the same of it; doing it twice is no fault.
func TestKnown(t *testing.T) {
	g := Gate.DeepCopy()
	for range 2 {
		if err := Register(g); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(gates) {
		fields := strings.Fields(line)
		spec, ok := library[featuregate.Feature(fields[0])]
		if want := stages[fields[1]].PreRelease; ok && (spec.Default != (fields[2] == "on") || spec.LockToDefault != (len(fields) > 3) || spec.PreRelease != want) {
			t.Errorf("%q, and the library says %+v", line, spec)
		}
	}
	if n := len(g.GetAll()); n < 240 {
		t.Errorf("%d gates", n)
	}
}
