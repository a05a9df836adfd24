package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// hfHome is the directory of huggingface_hub (its constants.py).
func hfHome() (string, error) {
	if home := os.Getenv("HF_HOME"); home != "" {
		return home, nil
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find the Hugging Face cache: %w", err)
		}
		cache = filepath.Join(user, ".cache")
	}
	return filepath.Join(cache, "huggingface"), nil
}

// hfCacheDir is where huggingface_hub keeps models.
func hfCacheDir() (string, error) {
	if dir := firstSet(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE")); dir != "" {
		return dir, nil
	}
	home, err := hfHome()
	return filepath.Join(home, "hub"), err
}

// hfToken finds the token as huggingface_hub does. One that only lies in a file
// is not used when the user has said that it should not be.
func hfToken(home string) string {
	token := firstSet(os.Getenv("HF_TOKEN"), os.Getenv("HUGGING_FACE_HUB_TOKEN"))
	if token == "" && !isTrue(os.Getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		const most = 4096
		if f, err := os.Open(firstSet(os.Getenv("HF_TOKEN_PATH"), filepath.Join(home, "token"))); err == nil {
			raw, err := io.ReadAll(io.LimitReader(f, most))
			f.Close()
			if err == nil {
				token = string(raw)
			}
		}
	}
	return strings.TrimSpace(token)
}

func firstSet(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// isTrue reads a switch as huggingface_hub does.
func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}
