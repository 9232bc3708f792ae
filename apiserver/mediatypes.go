package apiserver

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// mediaTypes are what requests and answers may be in. The lists are in upstream's order: refusals show them.
type mediaTypes struct {
	objects       []string // by format
	streams       []string // of watches
	lists         []string // of lists, which may be watched
	logs          []string
	customs       []string // of custom resources' bodies, which have no protobuf form
	patches       []string
	customPatches []string // only Go types say how a strategic merge patch merges lists
}

func newMediaTypes(formats ...format) *mediaTypes {
	m := &mediaTypes{}
	for _, f := range formats {
		m.objects = append(m.objects, f.String())
		if f != formatProtobuf {
			m.customs = append(m.customs, f.String())
		}
		if f != formatYAML {
			m.streams = append(m.streams, streamType(f))
		}
	}
	m.lists = slices.Concat(m.objects, m.streams)
	m.logs = append([]string{"text/plain"}, m.objects...)
	m.patches = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType)}
	m.customPatches = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}
	if slices.Contains(formats, formatCBOR) {
		m.patches = append(m.patches, string(types.ApplyCBORPatchType))
		m.customPatches = append(m.customPatches, string(types.ApplyCBORPatchType))
	}
	return m
}

// streamType names the media type of a watch, as upstream asks for it.
func streamType(f format) string {
	if f == formatCBOR {
		return typeCBORSeq
	}
	return f.String() + ";stream=watch"
}

// What servers take and give: all of them, and those with the feature gate CBORServingAndStorage.
var (
	usualTypes = newMediaTypes(formatJSON, formatYAML, formatProtobuf)
	typesCBOR  = newMediaTypes(formatJSON, formatYAML, formatProtobuf, formatCBOR)
)

// cbor says whether the request may be answered in CBOR: upstream has it for what is said about one kind or about
// the version of a built-in group, not for what its servers say before or above that.
func (q *request) cbor() bool {
	return q.s.options.Features.CBOR && (q.kind != nil || q.routed && q.info.Version != "" && q.builtin())
}

func (q *request) mediaTypes() *mediaTypes {
	if q.cbor() {
		return typesCBOR
	}
	return usualTypes
}
