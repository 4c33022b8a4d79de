# Varnish (6 or later) in front of docroot: it keeps what docroot has sent, and shows none of it without being allowed to.
#
#     varnishd -a :80 -f varnish.vcl -p http_gzip_support=off
#
# http_gzip_support=off, so that visitors get the codings that docroot has (br as well, by Vary); otherwise Varnish asks
# for gzip alone, and makes what is not coded of it.
vcl 4.1;

backend docroot {
    .host = "127.0.0.1";
    .port = "8080";
    # docroot --health. Where HAProxy is between, it is the one who looks.
    .probe = { .url = "/healthz"; .interval = 1s; .threshold = 2; .window = 3; }
}

sub vcl_recv {
    # Who is behind this proxy is in X-Forwarded-For, where Varnish puts it (docroot --trusted-proxy); what a visitor
    # says of that is gone.
    unset req.http.Forwarded;

    # docroot has no cookies. A site's scripts may, and without this nothing would be kept for those who have some.
    unset req.http.Cookie;

    # One form for each coding, not for each way in which browsers write that they know it.
    if (req.http.Accept-Encoding ~ "(^|[ ,])br($|[ ,])") {
        set req.http.Accept-Encoding = "br";
    } elsif (req.http.Accept-Encoding ~ "(^|[ ,])gzip($|[ ,])") {
        set req.http.Accept-Encoding = "gzip";
    } else {
        unset req.http.Accept-Encoding;
    }
}

sub vcl_backend_response {
    # `no-cache` is no ban on keeping, but on showing without asking (RFC 9111, section 5.2.2.4). So it is kept, with
    # a lifetime of a millisecond (what has none Varnish does not find again), and each visit asks docroot by ETag
    # whether it is still so: a 304 without content, if it is.
    if (beresp.http.Cache-Control ~ "no-cache" && beresp.http.ETag && beresp.status == 200) {
        set beresp.ttl = 1ms;
        set beresp.grace = 0s;
        set beresp.keep = 1h;
        return (deliver);
    }
    # What has a lifetime is asked for by ETag as well when that is over, and not shown meanwhile.
    set beresp.grace = 0s;
    set beresp.keep = 1h;
}
