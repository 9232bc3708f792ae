package apiserver

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A format is a wire format of objects.
type format int

// The formats, in upstream's order of preference.
const (
	formatJSON format = iota
	formatYAML
	formatProtobuf
	formatCBOR
)

const (
	typeJSON     = "application/json"
	typeYAML     = "application/yaml"
	typeProtobuf = "application/vnd.kubernetes.protobuf"
	typeCBOR     = "application/cbor"
	typeCBORSeq  = "application/cbor-seq" // of watches
)

var formatTypes = [...]string{formatJSON: typeJSON, formatYAML: typeYAML, formatProtobuf: typeProtobuf, formatCBOR: typeCBOR}

func (f format) String() string { return formatTypes[f] }

// A target is what the client wants an object turned into; empty: nothing.
type target struct{ kind, version string } // of group meta.k8s.io

// A media is the negotiated form of an answer.
type media struct {
	format format
	target target
	pretty bool
}

// Which targets a handler can make.
type targets int

const (
	plainOnly      targets = iota // errors, discovery: objects as they are
	metadata                      // what is not stored, and parts of objects: also as metadata, which may be all that there is of it
	tables                        // objects of the API, also as tables and metadata
	customs                       // custom resources: the same, but they have no protobuf form
	aggregatedOnly                // discovery that describes all groups at once, and nothing else
)

// An ability is what forms a handler can give an answer.
type ability struct {
	targets targets
	cbor    bool
}

// negotiate picks the answer's form from the Accept header; false if none will do.
func negotiate(r *http.Request, can ability) (media, bool) {
	accept := r.Header.Get("Accept")
	m := media{}
	ok := true
	switch accept {
	case "", typeJSON, "*/*", "application/json, */*":
	case "application/vnd.kubernetes.protobuf,application/json":
		if can.targets != customs {
			m.format = formatProtobuf
		}
	default:
		m, ok = parseAccept(accept, can)
	}
	m.pretty = m.pretty || wantsPretty(r)
	return m, ok
}

// targets says what q's kind can be turned into.
func (q *request) targets() targets {
	switch {
	case q.kind == nil:
		return plainOnly
	case q.kind.Custom != nil:
		return customs
	case q.hasTable():
		return tables
	}
	return metadata
}

// hasTable says whether upstream has a table for q's kind, or for its subresource.
func (q *request) hasTable() bool {
	switch sub := q.kind.Subresource(q.info.Subresource); {
	case sub != nil:
		return sub.Table
	case q.info.Subresource == "status" && q.kind.Status != nil:
		return !q.kind.Status.NoTable
	}
	return q.kind.Prefix != "" || q.kind.Columns != nil // reviews have none
}

// parseAccept takes the first clause that can be served, in the order that upstream's library gives them: by quality,
// but whatever names a type goes before what takes any.
func parseAccept(accept string, can ability) (media, bool) {
	formats := len(formatTypes)
	if !can.cbor {
		formats = int(formatCBOR)
	}
	for _, clause := range goautoneg.ParseAccept(accept) {
		for f := range format(formats) {
			if !covers(&clause, f) {
				continue
			}
			if m, ok := can.offer(f, clause.Params); ok {
				return m, true
			}
		}
	}
	return media{}, false
}

func covers(clause *goautoneg.Accept, f format) bool {
	main, sub, _ := strings.Cut(f.String(), "/")
	switch {
	case clause.Type == "*":
		return clause.SubType == "*"
	case clause.Type != main:
		return false
	}
	return clause.SubType == sub || clause.SubType == "*"
}

// offer is format f as a clause's parameters want it; false if there is no such thing.
func (can ability) offer(f format, params map[string]string) (media, bool) {
	m := media{format: f}
	var into *schema.GroupVersionKind
	for key, value := range params {
		switch key {
		case "as", "g", "v":
			into = &schema.GroupVersionKind{Kind: params["as"], Group: params["g"], Version: params["v"]}
		case "stream":
			if value != "" && (value != "watch" || f == formatYAML) {
				return m, false
			}
		case "sv":
			if value != "" && (value != "v1" || can.targets == plainOnly || can.targets == aggregatedOnly) {
				return m, false
			}
		case "pretty":
			m.pretty = value == "1"
		}
	}
	if into != nil {
		m.target = target{into.Kind, into.Version}
	}
	return m, can.allows(f, into)
}

// allows says whether an object can be turned into another kind, nil for none, in format f.
func (can ability) allows(f format, into *schema.GroupVersionKind) bool {
	switch {
	case can.targets == aggregatedOnly:
		return into != nil && *into == aggregatedKind
	case into == nil:
		return can.targets != customs || f != formatProtobuf
	case can.targets == plainOnly, into.Group != metav1.GroupName, into.Version != "v1" && into.Version != "v1beta1":
		return false
	case into.Kind == "Table":
		return can.targets != metadata && (f == formatJSON || f == formatYAML) // upstream has no other form of it
	}
	return into.Kind == "PartialObjectMetadata" || into.Kind == "PartialObjectMetadataList"
}

// wantsPretty says whether a person is likely to read the answer.
func wantsPretty(r *http.Request) bool {
	if strings.Contains(r.URL.RawQuery, "pretty") {
		if value := r.URL.Query().Get("pretty"); value != "" {
			pretty, _ := strconv.ParseBool(value) // what is no bool is false
			return pretty
		}
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// acceptsGzip says whether a large answer may be compressed.
func acceptsGzip(r *http.Request) bool {
	for token := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if strings.TrimSpace(token) == "gzip" {
			return true
		}
	}
	return false
}
