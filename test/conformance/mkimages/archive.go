package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

type layer struct {
	blob   []byte // gzip
	diffID string
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// packLayer tars a directory reproducibly: sorted, owned by root, no times.
func packLayer(root string) *layer {
	var plain, packed bytes.Buffer
	tw := tar.NewWriter(&plain)
	check(filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		check(err)
		rel, _ := filepath.Rel(root, p)
		if rel == "." {
			return nil
		}
		info, err := d.Info()
		check(err)
		link := ""
		if info.Mode()&os.ModeSymlink != 0 {
			link, err = os.Readlink(p)
			check(err)
		}
		h, err := tar.FileInfoHeader(info, link)
		check(err)
		h.Name = rel
		if info.IsDir() {
			h.Name += "/"
		}
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		h.ModTime, h.AccessTime, h.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
		check(tw.WriteHeader(h))
		if info.Mode().IsRegular() {
			f, err := os.Open(p)
			check(err)
			_, err = io.Copy(tw, f)
			check(err)
			check(f.Close())
		}
		return nil
	}))
	check(tw.Close())
	zw, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	_, err := zw.Write(plain.Bytes())
	check(err)
	check(zw.Close())
	return &layer{packed.Bytes(), digest(plain.Bytes())}
}

type archive struct {
	f      *os.File
	tw     *tar.Writer
	have   map[string]bool
	index  []descriptor
	docker []map[string]any
}

func newArchive(name string) (*archive, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &archive{f: f, tw: tar.NewWriter(f), have: map[string]bool{}}, nil
}

func (a *archive) file(name string, b []byte) {
	check(a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0)}))
	_, err := a.tw.Write(b)
	check(err)
}

func (a *archive) blob(b []byte) string {
	d := digest(b)
	name := "blobs/sha256/" + strings.TrimPrefix(d, "sha256:")
	if !a.have[name] {
		a.have[name] = true
		a.file(name, b)
	}
	return d
}

func (a *archive) add(ref string, c config, layers []*layer) {
	var diffs, files []string
	var history []map[string]string
	var ls []descriptor
	for _, l := range layers {
		d := a.blob(l.blob)
		ls = append(ls, descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Digest: d, Size: len(l.blob)})
		diffs = append(diffs, l.diffID)
		files = append(files, "blobs/sha256/"+strings.TrimPrefix(d, "sha256:"))
		history = append(history, map[string]string{"created": "1970-01-01T00:00:00Z", "created_by": "mkimages"})
	}
	cfg, _ := json.Marshal(map[string]any{
		"created": "1970-01-01T00:00:00Z", "architecture": runtime.GOARCH, "os": "linux", "config": c,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": history,
	})
	cd := a.blob(cfg)
	man, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: cd, Size: len(cfg)},
		"layers": ls,
	})
	a.index = append(a.index, descriptor{
		MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: a.blob(man), Size: len(man),
		Annotations: map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref},
	})
	a.docker = append(a.docker, map[string]any{
		"Config": "blobs/sha256/" + strings.TrimPrefix(cd, "sha256:"), "RepoTags": []string{ref}, "Layers": files,
	})
}

func (a *archive) close() {
	b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": a.index})
	a.file("index.json", b)
	a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	b, _ = json.Marshal(a.docker)
	a.file("manifest.json", b)
	check(a.tw.Close())
	check(a.f.Close())
}
