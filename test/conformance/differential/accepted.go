package differential

import (
	"regexp"
	"slices"
)

// An acceptance is a difference that may be there. It explains the lines that match: where it has patterns
// for both sides, only where both have a line of theirs.
type acceptance struct {
	why           string
	kinds, aspect string // kinds: a pattern of whole names, "" for all
	upstream      string // patterns of lines; "" for none
	ours          string
}

// explain returns what of d the acceptances leave unexplained, and which of them explained something.
func explain(list []acceptance, d difference) (rest difference, used []int) {
	for i, a := range list {
		if a.explain(&d) {
			used = append(used, i)
		}
	}
	return d, used
}

func (d difference) none() bool { return len(d.upstream)+len(d.ours) == 0 }

// explain takes from d the lines that a is about, and says whether there are any.
func (a acceptance) explain(d *difference) bool {
	if a.aspect != d.aspect || !regexp.MustCompile("^("+a.kinds+")$").MatchString(d.kind) && a.kinds != "" {
		return false
	}
	theirs, ours := matcher(a.upstream), matcher(a.ours)
	inTheirs, inOurs := slices.ContainsFunc(d.upstream, theirs), slices.ContainsFunc(d.ours, ours)
	if a.upstream != "" && !inTheirs || a.ours != "" && !inOurs {
		return false
	}
	d.upstream = slices.DeleteFunc(slices.Clone(d.upstream), theirs)
	d.ours = slices.DeleteFunc(slices.Clone(d.ours), ours)
	return true
}

func matcher(pattern string) func(string) bool {
	if pattern == "" {
		return func(string) bool { return false }
	}
	return regexp.MustCompile(pattern).MatchString
}

// unwalked are the stored kinds that have no strategy here, and why.
var unwalked = map[string]string{
	"mutatingadmissionpolicies.admissionregistration.k8s.io":         policies,
	"mutatingadmissionpolicybindings.admissionregistration.k8s.io":   policies,
	"validatingadmissionpolicies.admissionregistration.k8s.io":       policies,
	"validatingadmissionpolicybindings.admissionregistration.k8s.io": policies,
}

const policies = "upstream's strategies ask a discovery client and an authorizer about the kinds of parameters"

// accepted are the differences that we know of and leave as they are.
var accepted = []acceptance{
	// How upstream reports.
	{
		why:    "upstream checks metadata in two or three places, and templates in two: how often a cause is repeated says nothing",
		aspect: repeats, upstream: `.`,
	},
	{
		why:    "what the pipeline repeats, upstream repeats for most kinds, but not for all",
		aspect: repeats, ours: `.`,
	},
	{
		why:    "upstream encodes values that its generated validation refuses as JSON, its own as Go does",
		aspect: faults, upstream: `\\u00`, ours: `\\x00`,
	},
	// What upstream checks in other places.
	{
		why:    "upstream takes a prefix for names back in a status update, which nobody has a use for",
		kinds:  `(flowschemas|prioritylevelconfigurations)\..*`,
		aspect: object, ours: `^\.metadata\.generateName: `,
	},
	{
		why:    "upstream drops the internal traffic policy of ExternalName services when they are read, not when they are stored",
		kinds:  `services`,
		aspect: object, upstream: `^\.spec\.internalTrafficPolicy: `,
	},
	{
		why:    "upstream looks at the whole metadata of these after what may not change, and we before",
		kinds:  `volumeattributesclasses\.storage\.k8s\.io`,
		aspect: faults + inOrder, upstream: `.`, ours: `.`,
	},
	// What is wrong upstream.
	{
		why:    "upstream has a printer for these, which its server does not use",
		kinds:  `csistoragecapacities\.storage\.k8s\.io`,
		aspect: columns, upstream: `^(StorageClassName|Capacity)\|`, ours: `^Created At\|`,
	},
	{
		why:    "the same, and what stands in the columns",
		kinds:  `csistoragecapacities\.storage\.k8s\.io`,
		aspect: cells, upstream: `^(StorageClassName|Capacity) = `, ours: `^Created At = `,
	},
	{
		why:    "upstream counts a change of fields that it drops afterwards as one of the object",
		kinds:  `(endpointslices|resourceslices)\..*`,
		aspect: object, upstream: `^\.metadata\.generation: `, ours: `^\.metadata\.generation: `,
	},
	{
		why:    "upstream's validation dereferences nil, and its server answers 500",
		kinds:  `jobs\.batch`,
		aspect: faults, upstream: `^panic: `, ours: `.`,
	},
	{
		why:    "upstream shows <nil> where a status has no value",
		kinds:  `horizontalpodautoscalers\.autoscaling.*`,
		aspect: cells, upstream: `^Targets = .*nil`, ours: `^Targets = .*unknown`,
	},
	{
		why:    "upstream warns of the old template in the place of the new one",
		kinds:  `replicationcontrollers`,
		aspect: warnings, ours: `^spec\.template\.`,
	},
	{
		why:    "upstream reads an annotation of extensions/v1beta1 while it converts, and refuses what is no number",
		kinds:  `daemonsets\.apps`,
		aspect: faults, upstream: `^` + undecodable, ours: `.`,
	},
	{
		why:    "the same, with an object that is valid otherwise",
		kinds:  `daemonsets\.apps`,
		aspect: faults, upstream: `^` + undecodable,
	},
	{
		why:    "a flexVolume beside another source passes upstream, which counts it but does not look at the count",
		kinds:  `persistentvolumes|volumeattachments\..*`,
		aspect: faults, ours: `flexVolume: Forbidden: `,
	},
	// What is left to do.
	{
		why:    "with that, upstream looks at what is wrong with the flexVolume",
		kinds:  `persistentvolumes`,
		aspect: faults, upstream: `flexVolume\.driver: Required value`,
	},
	{
		why:    "an empty namespace has a message of its own upstream",
		kinds:  `persistentvolumes`,
		aspect: faults, upstream: `glusterfs\.endpointsNamespace: Invalid value: ""`, ours: `glusterfs\.endpointsNamespace: Invalid value: ""`,
	},
	{
		why:    "upstream checks the values of a volume's node affinity, we warn of them",
		kinds:  `persistentvolumes`,
		aspect: faults, upstream: `^FieldValueInvalid spec\.nodeAffinity\..*\.values\[`,
	},
	{
		why:    "upstream shortens long names of capacities in paths",
		kinds:  `resourceslices\..*`,
		aspect: faults, upstream: `capacity\[.*\.\.\.`, ours: `capacity\[`,
	},
	{
		why:    "upstream keeps the part of a behavior that autoscaling/v1 has in an annotation as it was given; we fill it in",
		kinds:  `horizontalpodautoscalers\.autoscaling@autoscaling\.v1`,
		aspect: faults, upstream: `^FieldValueRequired spec\.behavior\.`,
	},
}
