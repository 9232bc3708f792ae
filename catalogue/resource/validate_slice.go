package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func validateClass(c *resourcev1.DeviceClass) field.ErrorList {
	f := &rule.Faults{}
	selectors(f, c.Spec.Selectors, specPath.Child("selectors"))
	if config := specPath.Child("config"); fewEnough(f, len(c.Spec.Config), resourcev1.DeviceConfigMaxSize, config) {
		for i := range c.Spec.Config {
			configuration(f, &c.Spec.Config[i].DeviceConfiguration, config.Index(i))
		}
	}
	if name := c.Spec.ExtendedResourceName; name != nil && !podspec.IsExtended(corev1.ResourceName(*name)) {
		f.Invalid(specPath.Child("extendedResourceName"), *name, "must be a valid extended resource name")
	}
	return f.List
}

func validateSlice(s *resourcev1.ResourceSlice) field.ErrorList { return sliceSpec(&s.Spec, nil) }

func validateSliceUpdate(s, old *resourcev1.ResourceSlice) field.ErrorList {
	return sliceSpec(&s.Spec, &old.Spec)
}

func sliceSpec(s, old *resourcev1.ResourceSliceSpec) field.ErrorList {
	f := &rule.Faults{}
	podspec.CSIDriverName(f, s.Driver, specPath.Child("driver"))
	pool := specPath.Child("pool")
	poolName(f, s.Pool.Name, pool.Child("name"))
	if s.Pool.ResourceSliceCount <= 0 {
		f.Invalid(pool.Child("resourceSliceCount"), s.Pool.ResourceSliceCount, "must be greater than zero")
	}
	if s.Pool.Generation < 0 {
		f.Invalid(pool.Child("generation"), s.Pool.Generation, "must be greater than or equal to zero")
	}
	if old != nil {
		f.Unchanged(pool.Child("name"), s.Pool.Name, old.Pool.Name)
		f.Unchanged(specPath.Child("driver"), s.Driver, old.Driver)
		f.Unchanged(specPath.Child("nodeName"), s.NodeName, old.NodeName)
	}
	where(f, s)
	if s.SharedCounters != nil && s.Devices != nil {
		f.Invalid(specPath, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	devices(f, s, old)
	counterSets(f, s.SharedCounters)
	return f.List
}

// choices collects which of several fields is set, where one must be.
type choices struct {
	f   *rule.Faults
	set []string
}

// flag counts a field that can only be true.
func (c *choices) flag(v *bool, name string, at *field.Path) {
	if v == nil {
		return
	}
	if *v {
		c.set = append(c.set, "`"+name+"`")
	} else {
		c.f.Invalid(at.Child(name), *v, "must be either unset or set to true")
	}
}

func (c *choices) nodeName(v *string, at *field.Path, empty string) {
	if v == nil {
		return
	}
	if *v == "" {
		c.f.Invalid(at.Child("nodeName"), *v, empty)
		return
	}
	c.set = append(c.set, "`nodeName`")
	c.f.DNSSubdomain(at.Child("nodeName"), *v)
}

func (c *choices) nodeSelector(v *corev1.NodeSelector, at *field.Path) {
	if v != nil {
		c.set = append(c.set, "`nodeSelector`")
		podspec.NodeSelector(c.f, v, false, at.Child("nodeSelector"))
	}
}

// where checks that a slice says once which nodes see its devices.
func where(f *rule.Faults, s *resourcev1.ResourceSliceSpec) {
	c := &choices{f: f}
	c.nodeName(s.NodeName, specPath, "must be either unset or set to a non-empty string")
	c.nodeSelector(s.NodeSelector, specPath)
	if n := s.NodeSelector; n != nil && len(n.NodeSelectorTerms) != 1 {
		f.Invalid(specPath.Child("nodeSelector", "nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term")
	}
	c.flag(s.AllNodes, "allNodes", specPath)
	c.flag(s.PerDeviceNodeSelection, "perDeviceNodeSelection", specPath)
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch len(c.set) {
	case 0:
		f.Required(specPath, one)
	case 1:
	default:
		f.Invalid(specPath, "{"+strings.Join(c.set, ", ")+"}", one+", but multiple fields are set")
	}
}

func devices(f *rule.Faults, s, old *resourcev1.ResourceSliceSpec) {
	most := resourcev1.ResourceSliceMaxDevices
	if slices.ContainsFunc(s.Devices, advanced) {
		most = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	at := specPath.Child("devices")
	if !fewEnough(f, len(s.Devices), most, at) {
		return
	}
	for i := range s.Devices {
		d := &s.Devices[i]
		var before *resourcev1.Device
		if old != nil {
			if j := slices.IndexFunc(old.Devices, func(o resourcev1.Device) bool { return o.Name == d.Name }); j >= 0 {
				before = &old.Devices[j]
			}
		}
		device(f, d, before, ptr.Deref(s.PerDeviceNodeSelection, false), at.Index(i))
	}
	unique(f, s.Devices, at, func(d resourcev1.Device) string { return d.Name })
}

// advanced devices take more room, so that fewer fit into a slice.
func advanced(d resourcev1.Device) bool {
	return len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 || hasLists(d)
}

func taints(f *rule.Faults, list []resourcev1.DeviceTaint, at *field.Path) {
	if !fewEnough(f, len(list), resourcev1.DeviceTaintsMaxLength, at) {
		return
	}
	for i, t := range list {
		f.LabelName(at.Index(i).Child("key"), t.Key)
		f.Each(at.Index(i).Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
		rule.Choice(f, at.Index(i).Child("effect"), t.Effect, taintEffects...)
	}
}

// device checks a device; old is the one of the same name before, nil if there was none.
func device(f *rule.Faults, d, old *resourcev1.Device, perDevice bool, at *field.Path) {
	f.DNSLabel(at.Child("name"), d.Name)
	if n, most := len(d.Attributes)+len(d.Capacity), resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice; n > most {
		f.Invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", most))
	}
	if n, most := values(d), resourcev1.ResourceSliceMaxAttributeValuesPerDevice; n > most {
		f.Invalid(at, n, fmt.Sprintf("the total number of attribute values must not exceed %d", most))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Attributes)) {
		qualifiedName(f, string(name), at.Child("attributes"))
		a := d.Attributes[name]
		attribute(f, &a, at.Child("attributes").Key(string(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Capacity)) {
		qualifiedName(f, string(name), at.Child("capacity"))
		c, policy := d.Capacity[name], at.Child("capacity").Key(string(name)).Child("requestPolicy")
		switch {
		case c.RequestPolicy == nil:
		case ptr.Deref(d.AllowMultipleAllocations, false):
			requestPolicy(f, c.RequestPolicy, c.Value, policy)
		default:
			f.Forbidden(policy, "allowMultipleAllocations must be true")
		}
	}
	if old == nil || !equality.Semantic.DeepEqual(old.Taints, d.Taints) {
		taints(f, d.Taints, at.Child("taints"))
	}
	consumed(f, d.ConsumesCounters, at.Child("consumesCounters"))
	if perDevice {
		c := &choices{f: f}
		c.nodeName(d.NodeName, at, "must not be empty")
		c.nodeSelector(d.NodeSelector, at)
		c.flag(d.AllNodes, "allNodes", at)
		const one = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
		switch len(c.set) {
		case 0:
			f.Required(at, one)
		case 1:
		default:
			f.Invalid(at, "{"+strings.Join(c.set, ", ")+"}", one)
		}
	} else if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
		f.Invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
	}
	bindingConditions(f, d.BindingConditions, d.BindingFailureConditions, at)
}

func values(d *resourcev1.Device) int {
	n := 0
	for _, a := range d.Attributes {
		n += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
	}
	return n
}

// attribute has one value, or one list of values of the same type.
func attribute(f *rule.Faults, a *resourcev1.DeviceAttribute, at *field.Path) {
	set := 0
	for _, ok := range []bool{a.BoolValue != nil, a.IntValue != nil, a.StringValue != nil, a.VersionValue != nil} {
		if ok {
			set++
		}
	}
	for _, list := range []struct {
		name string
		set  bool
		n    int
	}{
		{"bools", a.BoolValues != nil, len(a.BoolValues)}, {"ints", a.IntValues != nil, len(a.IntValues)},
		{"strings", a.StringValues != nil, len(a.StringValues)}, {"versions", a.VersionValues != nil, len(a.VersionValues)},
	} {
		if list.set {
			set++
			if list.n == 0 {
				f.Invalid(at.Child(list.name), []string{}, "must not be empty if specified")
			}
		}
	}
	if a.StringValue != nil {
		text(f, *a.StringValue, at.Child("string"))
	}
	if a.VersionValue != nil {
		versionText(f, *a.VersionValue, at.Child("version"))
	}
	for i, s := range a.StringValues {
		text(f, s, at.Child("strings").Index(i))
	}
	for i, s := range a.VersionValues {
		versionText(f, s, at.Child("versions").Index(i))
	}
	switch {
	case set == 0:
		f.Invalid(at, "", "exactly one value must be specified")
	case set > 1:
		f.Invalid(at, a, "exactly one value must be specified")
	}
}

func text(f *rule.Faults, s string, at *field.Path) {
	if len(s) > resourcev1.DeviceAttributeMaxValueLength {
		f.Add(field.TooLong(at, "", resourcev1.DeviceAttributeMaxValueLength))
	}
}

func versionText(f *rule.Faults, s string, at *field.Path) {
	if !version.MatchString(s) {
		f.Invalid(at, s, "must be a string compatible with semver.org spec 2.0.0")
	}
	text(f, s, at)
}

func consumed(f *rule.Faults, list []resourcev1.DeviceCounterConsumption, at *field.Path) {
	if !fewEnough(f, len(list), resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, at) {
		return
	}
	for i, c := range list {
		setName(f, at.Index(i).Child("counterSet"), c.CounterSet)
		counters(f, c.Counters, at.Index(i).Child("counters"), resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption)
	}
	unique(f, list, at, func(c resourcev1.DeviceCounterConsumption) string { return c.CounterSet })
}

func counterSets(f *rule.Faults, list []resourcev1.CounterSet) {
	at := specPath.Child("sharedCounters")
	if !fewEnough(f, len(list), resourcev1.ResourceSliceMaxCounterSets, at) {
		return
	}
	for i, c := range list {
		setName(f, at.Index(i).Child("name"), c.Name)
		counters(f, c.Counters, at.Index(i).Child("counters"), resourcev1.ResourceSliceMaxCountersPerCounterSet)
	}
	unique(f, list, at, func(c resourcev1.CounterSet) string { return c.Name })
}

// setName checks the name of a set of counters.
func setName(f *rule.Faults, at *field.Path, name string) {
	if f.Need(at, name) {
		f.DNSLabel(at, name)
	}
}

func counters(f *rule.Faults, m map[string]resourcev1.Counter, at *field.Path, most int) {
	if len(m) == 0 {
		f.Required(at, "")
		return
	}
	if !fewEnough(f, len(m), most, at) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		f.DNSLabel(at, name)
	}
}
