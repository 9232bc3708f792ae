package openapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// v2Fields are those of the document of version 2 in the order that they are written in, the alphabet's. What is no section
// is the same in all documents.
var v2Fields = []struct {
	name  string
	of    section
	value any
}{
	{name: "definitions", of: inDefinitions},
	{name: "info", value: info()},
	{name: "parameters", of: inParameters},
	{name: "paths", of: inPaths},
	{name: "security", value: []map[string][]string{{"BearerToken": {}}}},
	{name: "securityDefinitions", value: bearer()},
	{name: "swagger", value: "2.0"},
}

// writeJSON writes the document of version 2 that consists of j.
func (j *joint) writeJSON(w io.Writer) error {
	out := bufio.NewWriterSize(w, 64<<10) // keeps its first error for Flush
	for i, f := range v2Fields {
		out.WriteByte("{,"[min(i, 1)])
		if err := writeValue(out, f.name); err != nil {
			return err
		}
		out.WriteByte(':')
		if f.value != nil {
			if err := writeValue(out, f.value); err != nil {
				return err
			}
			continue
		}
		if err := writeObject(out, j[f.of]); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return out.Flush()
}

func writeObject(out *bufio.Writer, entries []entry) error {
	out.WriteByte('{')
	for i, e := range entries {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := writeValue(out, e.name); err != nil {
			return err
		}
		out.WriteByte(':')
		out.Write(e.text)
	}
	return out.WriteByte('}')
}

func writeValue(out *bufio.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	return err
}

// parse reads the document that consists of j.
func (j *joint) parse() (*openapiv2.Document, error) {
	var text bytes.Buffer
	if err := j.writeJSON(&text); err != nil {
		return nil, err
	}
	return parseV2(text.Bytes())
}

// inProtobuf returns a part, given and returned encoded, with protobuf messages for JSON.
func inProtobuf(data []byte, f *forms) ([]byte, error) {
	p, err := decodePart(data)
	if err != nil {
		return nil, err
	}
	out, err := p.transcoded(f)
	return out.encode(), err
}

// transcoded returns p with protobuf messages for JSON.
func (p part) transcoded(f *forms) (out part, err error) {
	var odd part
	for _, e := range p {
		if e.section == inPaths || e.section == inDefinitions {
			message, ok := f.transcode(e)
			if !ok {
				odd = append(odd, e)
				continue
			}
			e.text = message
		}
		out = append(out, e)
	}
	more, err := odd.inProtobuf()
	return append(out, more...), err
}

// inProtobuf returns p with protobuf messages for JSON, as the library makes them.
func (p part) inProtobuf() (out part, err error) {
	if len(p) == 0 {
		return nil, nil
	}
	j := join([]part{p})
	doc, err := j.parse()
	if err != nil {
		return nil, err
	}
	add := func(of section, name string, m proto.Message) {
		if err == nil {
			var text []byte
			text, err = proto.Marshal(m)
			out = append(out, entry{of, name, text})
		}
	}
	for _, m := range doc.GetPaths().GetPath() {
		add(inPaths, m.Name, m)
	}
	for _, m := range doc.GetDefinitions().GetAdditionalProperties() {
		add(inDefinitions, m.Name, m)
	}
	return out, err
}

// writeProtobuf writes the document of version 2 that consists of j, whose parameters alone are JSON.
func (j *joint) writeProtobuf(w io.Writer) error {
	rest := joint{inParameters: j[inParameters]}
	doc, err := rest.parse()
	if err != nil {
		return err
	}
	doc.Paths, doc.Definitions = nil, nil
	head, err := proto.Marshal(doc)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10) // keeps its first error for Flush
	out.Write(head)
	writeMessage(out, fieldIn(doc, "paths"), fieldIn(&openapiv2.Paths{}, "path"), j[inPaths])
	writeMessage(out, fieldIn(doc, "definitions"), fieldIn(&openapiv2.Definitions{}, "additional_properties"), j[inDefinitions])
	return out.Flush()
}

// fieldIn is the number of a field of a message.
func fieldIn(m proto.Message, name protoreflect.Name) protowire.Number {
	return m.ProtoReflect().Descriptor().Fields().ByName(name).Number()
}

// writeMessage writes a field of the document, a message that has but one field, which repeats.
func writeMessage(out *bufio.Writer, field, repeats protowire.Number, entries []entry) {
	size := 0
	for _, e := range entries {
		size += protowire.SizeTag(repeats) + protowire.SizeBytes(len(e.text))
	}
	out.Write(protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(size)))
	for _, e := range entries {
		out.Write(protowire.AppendVarint(protowire.AppendTag(nil, repeats, protowire.BytesType), uint64(len(e.text))))
		out.Write(e.text)
	}
}

// writeV3 writes a document of version 3 that is given in JSON in the form that media names.
func writeV3(w io.Writer, media string, data []byte) error {
	if media == mediaProtoV3 {
		doc, err := parseV3(data)
		if err != nil {
			return err
		}
		if data, err = proto.Marshal(doc); err != nil {
			return err
		}
	}
	_, err := w.Write(data)
	return err
}
