# Asks a model through a proxy with each key, and prints what the SDKs raise: the library, the class, the status and the
# code of the error.
import sys

import anthropic
import openai

url, *keys = sys.argv[1:]
message = [{"role": "user", "content": "hello"}]
for key in keys:
    for library in (openai, anthropic):
        try:
            if library is openai:
                client = openai.OpenAI(base_url=url, api_key=key, max_retries=0)
                client.chat.completions.create(model="m", messages=message)
            else:
                client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)
                client.messages.create(model="m", max_tokens=5, messages=message)
        except library.APIStatusError as error:
            code = error.body.get("code") or error.body["error"]["code"]
            print(library.__name__, type(error).__name__, error.status_code, code)
