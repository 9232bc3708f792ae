// Package feature knows the feature gates of a v1.36 server and what --feature-gates may do to them. Most features
// are here to stay as they are by default: their gates can be set to what they are, as they can upstream, and moving
// them is refused, for a switch without an effect would deceive whoever sets it. Gates about how upstream's parts work
// inside can be moved: here, and to whoever looks from outside there, they make no difference.
package feature

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	"k8s.io/klog/v2"
)

// Gate is the process's: upstream's libraries ask it, too.
var Gate = utilfeature.DefaultMutableFeatureGate

// movable are the features that a server has both with and without.
var movable = []featuregate.Feature{
	features.APIResponseCompression,
	features.AllowParsingUserUIDFromCertAuth,
	features.CBORServingAndStorage,
	features.ConstrainedImpersonation,
	features.StorageVersionHash,
	features.WatchList,
	PodWebsocketCreatePermission,
	NodeAudienceRestriction,
}

// Features whose names are upstream's server's own: no library has them.
const (
	// PodWebsocketCreatePermission asks those who open a stream to a pod by GET for the permission to create.
	PodWebsocketCreatePermission featuregate.Feature = "AuthorizePodWebsocketUpgradeCreatePermission"
	// NodeAudienceRestriction keeps nodes to tokens for audiences that their pods ask for.
	NodeAudienceRestriction featuregate.Feature = "ServiceAccountNodeAudienceRestriction"
)

// inner are about the caches, queues and checks inside of upstream's parts, whose place others have here.
var inner = []featuregate.Feature{
	"AtomicFIFO", "ConcurrentWatchObjectDecode", "DeclarativeValidationBeta", "DeclarativeValidationTakeover",
	"DetectCacheInconsistency", "InOrderInformersBatchProcess", "InformerResourceVersion", "ListFromCacheSnapshot",
	"OpportunisticBatching", "PLEGOnDemandRelist", "SchedulerAsyncAPICalls", "SchedulerAsyncPreemption", "SchedulerPopFromBackoffQ",
	"StaleControllerConsistencyDaemonSet", "StaleControllerConsistencyJob", "StaleControllerConsistencyReplicaSet",
	"StaleControllerConsistencyStatefulSet", "StorageNamespaceIndex", "UnlockWhileProcessingFIFO", "WatchCacheInitializationPostStartHook",
}

// absent are the features that upstream has by default, and this server does not.
var absent = []featuregate.Feature{
	features.UnknownVersionInteroperabilityProxy, // requests for what this server does not serve are not passed on to its peers
}

// gates lists the gates of kube-apiserver v1.36: name, stage, default, and whether it is locked.
//
//go:embed gates.txt
var gates string

// known makes them known to the process.
var known = sync.OnceFunc(func() {
	if err := Register(Gate); err != nil {
		panic(err) // the list contradicts itself: its test would have failed
	}
})

// binary is the version whose gates are known.
var binary = version.MajorMinor(1, 36)

// Register makes all gates known to g, beside those that upstream's libraries have told it.
func Register(g featuregate.MutableVersionedFeatureGate) error {
	there, add := g.GetAllVersioned(), map[featuregate.Feature]featuregate.VersionedSpecs{}
	for line := range strings.Lines(gates) {
		fields := strings.Fields(line)
		name := featuregate.Feature(fields[0])
		if _, ok := there[name]; ok {
			continue
		}
		spec := stages[fields[1]]
		spec.Version, spec.Default, spec.LockToDefault = binary, fields[2] == "on", len(fields) > 3
		specs := featuregate.VersionedSpecs{spec}
		if spec.PreRelease == featuregate.Deprecated { // the library asks how it began
			specs = featuregate.VersionedSpecs{{Version: version.MajorMinor(1, 0), Default: spec.Default, PreRelease: featuregate.GA}, spec}
		}
		add[name] = specs
	}
	if err := g.AddVersioned(add); err != nil {
		return err
	}
	for _, name := range absent {
		if err := g.OverrideDefault(name, false); err != nil {
			return err
		}
	}
	return nil
}

// Enabled says whether the process has a feature. It may be asked where no flag has been read: that is the default.
func Enabled(name featuregate.Feature) bool {
	known()
	return Gate.Enabled(name)
}

// stages are what a gate of each stage begins with: upstream's type of a stage has no name outside its package.
var stages = map[string]featuregate.FeatureSpec{
	"Alpha": {PreRelease: featuregate.Alpha}, "Beta": {PreRelease: featuregate.Beta}, "GA": {PreRelease: featuregate.GA}, "Deprecated": {PreRelease: featuregate.Deprecated},
}

// component is the only one whose gates there are.
const component = "kube"

// Set moves gates of g as the flag says: lists of name=true|false by component. Nothing has moved if it fails.
func Set(g featuregate.MutableVersionedFeatureGate, wanted map[string][]string) error {
	values, err := ofComponent(wanted)
	if err != nil || len(values) == 0 {
		return err
	}
	trial := g.DeepCopy()
	quiet := trial.(featuregate.MutableFeatureGateWithLogger) // what is warned of is warned of once
	if err := quiet.SetWithLogger(klog.Logger{}, strings.Join(values, ",")); err != nil {
		return err
	}
	var faults []error
	for name, spec := range g.GetAll() {
		if is := trial.Enabled(name); is != spec.Default && !canMove(name) {
			faults = append(faults, fmt.Errorf("feature gate %s cannot be %t: not supported here; leave it at %t", name, is, spec.Default))
		}
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return errors.Join(faults...)
	}
	return g.Set(strings.Join(values, ","))
}

func canMove(name featuregate.Feature) bool {
	return slices.Contains(movable, name) || slices.Contains(inner, name) || name == "AllAlpha" || name == "AllBeta"
}

func ofComponent(wanted map[string][]string) ([]string, error) {
	if len(wanted[""]) > 0 && len(wanted[component]) > 0 {
		return nil, errors.New("set kube feature gates with default empty prefix or kube: prefix consistently, do not mix use")
	}
	for name := range wanted {
		if name != "" && name != component {
			return nil, fmt.Errorf("component not registered: %s", name)
		}
	}
	return slices.Concat(wanted[""], wanted[component]), nil
}
