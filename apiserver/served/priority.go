package served

import (
	"cmp"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// A Priority orders groups, and the versions of one, in what clients prefer: the higher comes first. A
// group's place is that of its highest version; equals are ordered by name.
type Priority struct{ Group, Version int32 }

// customPriority is that of the kinds that users define.
var customPriority = Priority{1000, 100}

// priorities are upstream's for the groups that it has itself. The group of APIServices has no APIService,
// and is before all others.
var priorities = map[schema.GroupVersion]Priority{
	{Group: "apiregistration.k8s.io", Version: "v1"}:       {20001, 0},
	{Group: "", Version: "v1"}:                             {18000, 1},
	{Group: "apps", Version: "v1"}:                         {17800, 15},
	{Group: "events.k8s.io", Version: "v1"}:                {17750, 15},
	{Group: "authentication.k8s.io", Version: "v1"}:        {17700, 15},
	{Group: "authorization.k8s.io", Version: "v1"}:         {17600, 15},
	{Group: "autoscaling", Version: "v1"}:                  {17500, 15},
	{Group: "autoscaling", Version: "v2"}:                  {17500, 30},
	{Group: "batch", Version: "v1"}:                        {17400, 15},
	{Group: "certificates.k8s.io", Version: "v1"}:          {17300, 15},
	{Group: "networking.k8s.io", Version: "v1"}:            {17200, 15},
	{Group: "policy", Version: "v1"}:                       {17100, 15},
	{Group: "rbac.authorization.k8s.io", Version: "v1"}:    {17000, 15},
	{Group: "storage.k8s.io", Version: "v1"}:               {16800, 15},
	{Group: "apiextensions.k8s.io", Version: "v1"}:         {16700, 15},
	{Group: "admissionregistration.k8s.io", Version: "v1"}: {16700, 15},
	{Group: "scheduling.k8s.io", Version: "v1"}:            {16600, 15},
	{Group: "coordination.k8s.io", Version: "v1"}:          {16500, 15},
	{Group: "node.k8s.io", Version: "v1"}:                  {16300, 15},
	{Group: "discovery.k8s.io", Version: "v1"}:             {16200, 15},
	{Group: "resource.k8s.io", Version: "v1"}:              {16200, 21},
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: {16100, 21},

	{Group: "networking.k8s.io", Version: "v1beta1"}:             {17200, 9},
	{Group: "storage.k8s.io", Version: "v1beta1"}:                {16800, 9},
	{Group: "admissionregistration.k8s.io", Version: "v1beta1"}:  {16700, 12},
	{Group: "admissionregistration.k8s.io", Version: "v1alpha1"}: {16700, 9},
	{Group: "resource.k8s.io", Version: "v1beta2"}:               {16200, 15},
	{Group: "resource.k8s.io", Version: "v1beta1"}:               {16200, 9},
}

// PriorityOf returns the priority of a group version that is served here, and whether it is a built-in one.
func PriorityOf(group, version string) (p Priority, builtin bool) {
	p, builtin = priorities[schema.GroupVersion{Group: group, Version: version}]
	if !builtin {
		return customPriority, false
	}
	return p, true
}

// CompareGroups orders two groups, given their highest priorities.
func CompareGroups(a string, p int32, b string, q int32) int {
	return cmp.Or(cmp.Compare(q, p), strings.Compare(a, b))
}

// CompareVersions orders two versions of a group: by priority, then GA above beta above alpha, then by number.
func CompareVersions(a string, p int32, b string, q int32) int {
	return cmp.Or(cmp.Compare(q, p), version.CompareKubeAwareVersionStrings(b, a))
}

// Priority returns the highest of g's versions.
func (g *Group) Priority() int32 {
	var highest int32
	for _, v := range g.Versions {
		p, _ := PriorityOf(g.Name, v.Name)
		highest = max(highest, p.Group)
	}
	return highest
}
