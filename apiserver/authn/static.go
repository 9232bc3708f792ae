package authn

import (
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// StaticTokens are bearer tokens that never change, by digest: the look-up tells nothing about a value by its time.
type StaticTokens map[[sha256.Size]byte]user.Info

// Add makes token stand for u.
func (s StaticTokens) Add(token string, u user.Info) { s[sha256.Sum256([]byte(token))] = u }

func (s StaticTokens) user(token string) (user.Info, bool) {
	if len(s) == 0 {
		return nil, false
	}
	u, ok := s[sha256.Sum256([]byte(token))]
	return u, ok
}

// LoadStaticTokens reads a file of lines token,user,uid and, optionally, "group1,group2".
func LoadStaticTokens(path string) (StaticTokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read token file: %w", err)
	}
	defer f.Close()
	s, err := parseStaticTokens(f)
	if err != nil {
		return nil, fmt.Errorf("read token file %s: %w", path, err)
	}
	return s, nil
}

func parseStaticTokens(r io.Reader) (StaticTokens, error) {
	lines := csv.NewReader(r)
	lines.FieldsPerRecord = -1
	out := StaticTokens{}
	for n := 1; ; n++ {
		line, err := lines.Read()
		switch {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		case len(line) < 3:
			return nil, fmt.Errorf("record %d has %d fields; token, user name and user uid are needed", n, len(line))
		case line[0] == "":
			slog.Warn("record of the token file has an empty token and is left out", "record", n)
			continue
		}
		u := &user.DefaultInfo{Name: line[1], UID: line[2]}
		if len(line) >= 4 {
			u.Groups = strings.Split(line[3], ",")
		}
		out.Add(line[0], u)
	}
}
