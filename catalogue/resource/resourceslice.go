package resource

import (
	"fmt"
	"slices"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// resourceSlices describes ResourceSlice.
func resourceSlices() *catalogue.Resource {
	return catalogue.Describe[resourcev1.ResourceSlice, resourcev1.ResourceSliceList](catalogue.Kind[*resourcev1.ResourceSlice]{
		Resource:       api.Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceslices", Kind: "ResourceSlice"},
		PrepareCreate:  func(o *resourcev1.ResourceSlice) { dropDisabled(&o.Spec, nil) },
		PrepareUpdate:  func(o, old *resourcev1.ResourceSlice) { dropDisabled(&o.Spec, &old.Spec) },
		Default:        defaultSlice,
		ValidateCreate: validateSlice,
		Warnings:       sliceWarnings,
		ValidateUpdate: validateSliceUpdate,
		Columns:        sliceColumns,
		Row:            sliceRow,
		Generation:     catalogue.PartOf(func(o *resourcev1.ResourceSlice) *resourcev1.ResourceSliceSpec { return &o.Spec }),
		Fields: map[string]func(*resourcev1.ResourceSlice) string{
			"spec.driver": func(o *resourcev1.ResourceSlice) string { return o.Spec.Driver },
			"spec.nodeName": func(o *resourcev1.ResourceSlice) string {
				if o.Spec.NodeName == nil {
					return ""
				}
				return *o.Spec.NodeName
			},
		},
	})
}

var sliceColumns = []table.Column{
	table.Name,
	table.String("Node", table.Doc(resourcev1.ResourceSliceSpec{}, "nodeName")),
	table.String("Driver", table.Doc(resourcev1.ResourceSliceSpec{}, "driver")),
	table.String("Pool", table.Doc(resourcev1.ResourcePool{}, "name")),
	table.Age,
}

func sliceRow(s *resourcev1.ResourceSlice, now time.Time) []any {
	var node string
	if s.Spec.NodeName != nil {
		node = *s.Spec.NodeName
	}
	return []any{s.Name, node, s.Spec.Driver, s.Spec.Pool.Name, table.Since(s.CreationTimestamp, now)}
}

// defaultSlice dates taints.
func sliceWarnings(s, _ *resourcev1.ResourceSlice) []string {
	if driver := s.Spec.Driver; driver != strings.ToLower(driver) {
		return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", driver)}
	}
	return nil
}

func defaultSlice(s *resourcev1.ResourceSlice) {
	for i := range s.Spec.Devices {
		for j := range s.Spec.Devices[i].Taints {
			if t := &s.Spec.Devices[i].Taints[j]; t.TimeAdded == nil {
				t.TimeAdded = ptr.To(metav1.NewTime(rule.Now().Truncate(time.Second)))
			}
		}
	}
}

// dropDisabled takes away what is off by default, unless the old object had it: attributes that are lists, and
// devices that stand for resources of the node.
func dropDisabled(s, old *resourcev1.ResourceSliceSpec) {
	lists, mappings := old != nil && slices.ContainsFunc(old.Devices, hasLists), old != nil &&
		slices.ContainsFunc(old.Devices, func(d resourcev1.Device) bool { return d.NodeAllocatableResourceMappings != nil })
	for i := range s.Devices {
		d := &s.Devices[i]
		if !mappings {
			d.NodeAllocatableResourceMappings = nil
		}
		if lists || !hasLists(*d) {
			continue
		}
		for name, a := range d.Attributes {
			a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
			d.Attributes[name] = a
		}
	}
}

func hasLists(d resourcev1.Device) bool {
	for _, a := range d.Attributes {
		if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
			return true
		}
	}
	return false
}
