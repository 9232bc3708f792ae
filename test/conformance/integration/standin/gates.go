package standin

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/util/compatibility"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/component-base/featuregate"
	featuregatetesting "k8s.io/component-base/featuregate/testing"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// Gates are the features of one server. They begin as those of the process, which tests switch as well.
type Gates struct {
	gate     featuregate.MutableVersionedFeatureGate
	registry basecompatibility.ComponentGlobalsRegistry
}

// NewGates gives o features of its own.
func NewGates(o *options.ServerRunOptions) (*Gates, error) {
	g := &Gates{gate: utilfeature.DefaultMutableFeatureGate.DeepCopy(), registry: basecompatibility.NewComponentGlobalsRegistry()}
	version := compatibility.DefaultKubeEffectiveVersionForTest()
	version.SetEmulationVersion(g.gate.EmulationVersion())
	version.SetMinCompatibilityVersion(g.gate.MinCompatibilityVersion())
	o.GenericServerRunOptions.ComponentGlobalsRegistry = g.registry
	return g, g.registry.Register(basecompatibility.DefaultKubeComponent, version, g.gate)
}

// Settle reads what the flags said and has the process do the same for as long as the test runs: it holds clients and
// controllers of the test.
func (g *Gates) Settle(t featuregatetesting.TB) error {
	if err := g.registry.Set(); err != nil {
		return err
	}
	if v := g.gate.EmulationVersion(); !skewed() && !v.EqualTo(compatibility.DefaultKubeEffectiveVersionForTest().BinaryVersion()) {
		return notInClipper("emulation of " + v.String())
	}
	moved := map[featuregate.Feature]bool{}
	for name := range utilfeature.DefaultMutableFeatureGate.GetAll() {
		if on := g.gate.Enabled(name); on != utilfeature.DefaultFeatureGate.Enabled(name) {
			moved[name] = on
		}
	}
	if len(moved) > 0 {
		featuregatetesting.SetFeatureGatesDuringTest(t, utilfeature.DefaultFeatureGate, moved)
	}
	return nil
}

// skewVariable says, unless it is empty, that a test is about the scheduler that runs beside the server: the server
// keeps its own version, and the features that the scheduler is to be without, or has alone.
const skewVariable = "CLIPPER_SKEW"

func skewed() bool { return os.Getenv(skewVariable) != "" }

// Flags are the values of --feature-gates. A test that asks for every feature gets those that are on by default, and those
// that the server can be told to have.
func (g *Gates) Flags() []string {
	flags, everything := []string{}, g.gate.Enabled("AllAlpha") || g.gate.Enabled("AllBeta")
	for name, spec := range g.gate.GetAll() {
		on := g.gate.Enabled(name)
		left := everything && !slices.Contains(offered, name) || skewed() && (!on || strings.HasPrefix(string(name), "Scheduler"))
		if on != spec.Default && !slices.Contains(ofClients, name) && !left {
			flags = append(flags, fmt.Sprintf("%s=%t", name, on))
		}
	}
	slices.Sort(flags)
	return flags
}

// offered are features of the server that are off by default.
var offered = []featuregate.Feature{"CBORServingAndStorage"}

// ofClients are features of client-go, which is in the tests' process.
var ofClients = []featuregate.Feature{"ClientsAllowCBOR", "ClientsPreferCBOR", "InOrderInformers", "InformerResourceVersion", "WatchListClient"}
