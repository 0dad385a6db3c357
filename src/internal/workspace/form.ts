/** Encodes the forms of requests. undici's own encoding is lost in a bundle that has more than one file. */
import { Effect } from "effect"
import { HttpBody, HttpClientError, HttpClientRequest } from "effect/http"

/** Returns the request with its form as bytes; a request with another body is returned as it is. */
export const encoded = (
  request: HttpClientRequest.HttpClientRequest
): Effect.Effect<HttpClientRequest.HttpClientRequest, HttpClientError.HttpClientError> => {
  const { body } = request
  if (body._tag !== "FormData") return Effect.succeed(request)
  return Effect.tryPromise({
    try: async () => {
      const form = new Response(body.formData)
      const bytes = new Uint8Array(await form.arrayBuffer())
      return HttpClientRequest.setBody(
        request,
        HttpBody.uint8Array(bytes, form.headers.get("content-type") ?? undefined)
      )
    },
    catch: (cause) =>
      new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
  })
}
