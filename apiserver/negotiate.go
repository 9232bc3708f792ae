package apiserver

import (
	"net/http"
	"strconv"
	"strings"
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
	stream bool
}

// Which targets a handler can make.
type targets int

const (
	plainOnly targets = iota // errors, discovery: objects as they are
	tables                   // objects of the API, also as tables and metadata
	customs                  // custom resources: the same, but they have no protobuf form
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
	case q.kind == nil || q.kind.Prefix == "" && q.kind.Columns == nil:
		return plainOnly // what is not stored, such as reviews, has no tables or metadata
	case q.kind.Custom != nil:
		return customs
	}
	return tables
}

// parseAccept takes the clause of the highest quality that can be served; of equals the first.
func parseAccept(accept string, can ability) (media, bool) {
	best, quality := media{}, 0.0
	for clause := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(clause, ";")
		if q := qualityOf(params); q > quality {
			if m, ok := parseClause(strings.TrimSpace(kind), params, can); ok {
				best, quality = m, q
			}
		}
	}
	return best, quality > 0
}

// qualityOf reads the q parameter, which few clients send; without one it is 1.
func qualityOf(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		if text, ok := strings.CutPrefix(strings.TrimSpace(param), "q="); ok {
			q, err := strconv.ParseFloat(text, 64)
			if err != nil || q < 0 || q > 1 {
				return 1
			}
			return q
		}
	}
	return 1
}

func parseClause(kind, params string, can ability) (media, bool) {
	var m media
	switch kind {
	case typeJSON, "*/*", "application/*":
	case typeYAML:
		m.format = formatYAML
	case typeProtobuf:
		m.format = formatProtobuf
	case typeCBOR:
		m.format = formatCBOR
		if !can.cbor {
			return m, false
		}
	default:
		return m, false
	}
	group, transform := "", false
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch key {
		case "as":
			m.target.kind, transform = value, true
		case "v":
			m.target.version, transform = value, true
		case "g":
			group, transform = value, true
		case "stream":
			if value != "" && value != "watch" {
				return m, false
			}
			m.stream = value == "watch"
		case "pretty":
			m.pretty = value == "1"
		}
	}
	if !transform {
		return m, can.targets != customs || m.format != formatProtobuf
	}
	return m, can.targets != plainOnly && m.transforms(group)
}

// transforms says whether the wanted target exists in the wanted format.
func (m media) transforms(group string) bool {
	if group != "meta.k8s.io" || m.target.version != "v1" && m.target.version != "v1beta1" {
		return false
	}
	switch m.target.kind {
	case "Table":
		return m.format != formatProtobuf // upstream has no protobuf form of it
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return true
	}
	return false
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
