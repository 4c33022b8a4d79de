# Varnish (6 or later) in front of docroot: stores responses, and revalidates those that are `no-cache`.
#
#     varnishd -a :80 -f varnish.vcl -p http_gzip_support=off
#
# http_gzip_support=off, so that clients get the codings that docroot has (br as well, by Vary); otherwise Varnish
# requests gzip only, and decompresses it for other clients.
vcl 4.1;

backend docroot {
    .host = "127.0.0.1";
    .port = "8080";
    # docroot --health. If HAProxy is between Varnish and docroot, HAProxy does the health checks.
    .probe = { .url = "/healthz"; .interval = 1s; .threshold = 2; .window = 3; }
}

sub vcl_recv {
    # Varnish puts the client's address into X-Forwarded-For (docroot --trusted-proxy). Forwarded is the client's own
    # claim.
    unset req.http.Forwarded;

    # docroot uses no cookies. Scripts may, and Varnish would store nothing for requests with cookies.
    unset req.http.Cookie;

    # One variant for each coding, not for each spelling of Accept-Encoding.
    if (req.http.Accept-Encoding ~ "(^|[ ,])br($|[ ,])") {
        set req.http.Accept-Encoding = "br";
    } elsif (req.http.Accept-Encoding ~ "(^|[ ,])gzip($|[ ,])") {
        set req.http.Accept-Encoding = "gzip";
    } else {
        unset req.http.Accept-Encoding;
    }
}

sub vcl_backend_response {
    # `no-cache` forbids reuse without revalidation, not storing (RFC 9111, section 5.2.2.4). So the response is
    # stored with a lifetime of a millisecond (Varnish does not find one without a lifetime), and each request
    # revalidates it by ETag: a 304 without content, if it is unchanged.
    if (beresp.http.Cache-Control ~ "no-cache" && beresp.http.ETag && beresp.status == 200) {
        set beresp.ttl = 1ms;
        set beresp.grace = 0s;
        set beresp.keep = 1h;
        return (deliver);
    }
    # Other responses are revalidated by ETag after their lifetime, and not sent stale meanwhile.
    set beresp.grace = 0s;
    set beresp.keep = 1h;
}
