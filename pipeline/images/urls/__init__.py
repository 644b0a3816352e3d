"""What the URLs of a list may reach, how pictures are got from servers that fail, and by which keys they are known.

The list itself, with its columns and labels, is `images/url_list.py`. Begin with `policy.py`, which locates a URL;
`fetch.py` gets what it names, with `web_client.py` for one try at a web server.
"""
