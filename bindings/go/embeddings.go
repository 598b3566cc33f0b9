package cogvideox

// #include <cogvideox.h>
import "C"

// Embeddings are what the text encoder makes of a prompt.
type Embeddings struct {
	// Data holds Dim numbers for each token, token by token.
	Data []float32
	// Dim is [Pipeline.TextEmbedDim].
	Dim int
}

func (e *Embeddings) tokens(name string) (int, error) {
	if e.Dim < 1 || len(e.Data) == 0 || len(e.Data)%e.Dim != 0 {
		return 0, invalid("%s: expected tokens of %d numbers, found %d numbers", name, e.Dim, len(e.Data))
	}
	return len(e.Data) / e.Dim, nil
}

func (o *GenerateOptions) setEmbeddings(c *C.cvx_generate_options) error {
	if e := o.PromptEmbeddings; e != nil {
		tokens, err := e.tokens("PromptEmbeddings")
		if err != nil {
			return err
		}
		if err := takeError(C.cvx_generate_options_set_prompt_embeddings(
			c, floats(e.Data), C.size_t(tokens), C.size_t(e.Dim))); err != nil {
			return err
		}
	}
	if e := o.NegativePromptEmbeddings; e != nil {
		tokens, err := e.tokens("NegativePromptEmbeddings")
		if err != nil {
			return err
		}
		return takeError(C.cvx_generate_options_set_negative_prompt_embeddings(
			c, floats(e.Data), C.size_t(tokens), C.size_t(e.Dim)))
	}
	return nil
}
