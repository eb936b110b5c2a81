"""What `agg up` says once everything serves: plain text, to be read and copied."""

from api.local_stack import Credentials

WELCOME = """
  AI Aggregator is ready.

  API       {url}/v1
  Docs      {url}/docs
  Key       {key}
  Admin     {email}   {password}

  Try it (sim/ is the built-in provider, no key of anybody's is needed):

curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"model": "sim/echo", "messages": [{{"role": "user", "content": "Hello"}}]}}'

  Or with OpenAI's SDK:

from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")
reply = client.chat.completions.create(model="sim/echo", messages=[{{"role": "user", "content": "Hello"}}])
print(reply.choices[0].message.content)

  Ctrl-C stops everything.
"""


def welcome(url: str, credentials: Credentials) -> str:
    return WELCOME.format(
        url=url, key=credentials.api_key, email=credentials.admin_email, password=credentials.admin_password
    )
