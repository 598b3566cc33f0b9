// Dump writes down, as JSON, how a Go package uses C: which names of C it mentions, what its
// constants are made from, which functions it exports to C, and which pointers it reads as
// something else. tests/abi/go_binding.py compares it.
//
//	go run dump.go -- FILE.go ...
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
)

type constant struct {
	Name string `json:"name"`
	// From is the C constant, "" if it is made from none.
	From string `json:"from"`
	// Exact says that nothing but conversions stands around the C constant.
	Exact bool   `json:"exact"`
	Where string `json:"where"`
}

type conversion struct {
	// To is what the memory is read as.
	To    string `json:"to"`
	Where string `json:"where"`
}

type dump struct {
	Names       map[string]string `json:"names"` // C name -> where it is first mentioned
	Constants   []constant        `json:"constants"`
	Exports     []string          `json:"exports"`
	Conversions []conversion      `json:"conversions"`
	// Structs of the package itself.
	Structs []string `json:"structs"`
}

func main() {
	files := token.NewFileSet()
	result := dump{Names: map[string]string{}}
	for _, path := range os.Args[2:] {
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		result.read(files, file)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (d *dump) read(files *token.FileSet, file *ast.File) {
	where := func(node ast.Node) string { return files.Position(node.Pos()).String() }
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if name, found := strings.CutPrefix(comment.Text, "//export "); found {
				d.Exports = append(d.Exports, strings.TrimSpace(name))
			}
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if name := cName(node); name != "" && d.Names[name] == "" {
				d.Names[name] = where(node)
			}
		case *ast.GenDecl:
			if node.Tok == token.CONST {
				for _, spec := range node.Specs {
					d.constant(spec.(*ast.ValueSpec), where(spec))
				}
			}
		case *ast.TypeSpec:
			if _, is := node.Type.(*ast.StructType); is {
				d.Structs = append(d.Structs, node.Name.Name)
			}
		case *ast.CallExpr:
			if to := pointerConversion(node); to != "" {
				d.Conversions = append(d.Conversions, conversion{to, where(node)})
			}
		}
		return true
	})
}

// cName is the name behind "C.", or "".
func cName(node ast.Expr) string {
	if selector, is := node.(*ast.SelectorExpr); is {
		if x, is := selector.X.(*ast.Ident); is && x.Name == "C" {
			return selector.Sel.Name
		}
	}
	return ""
}

func (d *dump) constant(spec *ast.ValueSpec, where string) {
	for i, name := range spec.Names {
		entry := constant{Name: name.Name, Where: where}
		if i < len(spec.Values) {
			value, exact := spec.Values[i], true
			for entry.From = cName(value); entry.From == ""; entry.From = cName(value) {
				if call, is := value.(*ast.CallExpr); is && len(call.Args) == 1 {
					value = call.Args[0]
				} else if paren, is := value.(*ast.ParenExpr); is {
					value = paren.X
				} else {
					exact = false
					break
				}
			}
			entry.Exact = exact
			if !exact {
				ast.Inspect(value, func(node ast.Node) bool {
					if expr, is := node.(ast.Expr); is && cName(expr) != "" {
						entry.From = cName(expr)
					}
					return true
				})
			}
		}
		d.Constants = append(d.Constants, entry)
	}
}

// pointerConversion returns T for (*T)(unsafe.Pointer(x)), and "" for other calls.
func pointerConversion(call *ast.CallExpr) string {
	paren, is := call.Fun.(*ast.ParenExpr)
	if !is || len(call.Args) != 1 {
		return ""
	}
	star, is := paren.X.(*ast.StarExpr)
	if !is {
		return ""
	}
	return text(star.X)
}

func text(node ast.Expr) string {
	switch node := node.(type) {
	case *ast.Ident:
		return node.Name
	case *ast.SelectorExpr:
		return text(node.X) + "." + node.Sel.Name
	case *ast.StarExpr:
		return "*" + text(node.X)
	case *ast.ArrayType:
		return "[]" + text(node.Elt)
	case *ast.StructType:
		return "struct"
	}
	return fmt.Sprintf("%T", node)
}
