# How each server is told to serve `$site` on `$port` with one process or thread, no access log, and patience.
#
# `serve_with SERVER WORK` sets `command`, `label SERVER` prints its column's name. A new server needs a line in
# `servers_known`, one in each of the `case`s below, and a function if it wants a file of settings. "Patience" is
# keep-alive without end and no time-out that a round could reach: time-outs are not what is measured here.

servers_known=(limit docroot nginx nginx-cache lighttpd h2o)

label() {
    case $1 in
        before) echo "docroot before" ;;
        docroot-log) echo "docroot, access log to a file" ;;
        nginx-cache) echo "nginx + open_file_cache" ;;
        *) echo "$1" ;;
    esac
}

# What a server needs on this machine, as `PROGRAM PACKAGE`.
needs() {
    case $1 in
        limit) ;; # (cc is needed anyway)
        docroot | docroot-log) echo "cargo cargo, or rustup.rs" ;;
        nginx | nginx-cache) echo "nginx nginx" ;;
        lighttpd | h2o) echo "$1 $1" ;;
    esac
}

serve_with() {
    local server=$1 work=$2
    case $server in
        limit)
            case $work in
                close) command=("$temp/limit" --close "$port" "$site/1k.html") ;;
                304) command=("$temp/limit" --status 304 "$port" "$site/1k.html") ;;
                404) command=("$temp/limit" --status 404 "$port" "$site/absent-page") ;;
                # It cannot tell two files apart, so the slow readers come by a door of their own.
                slow) command=("$temp/limit" "$port" "$site/1k.html" "$slow_port" "$site/10m.bin") ;;
                *) command=("$temp/limit" "$port" "$site$path") ;;
            esac
            ;;
        docroot) command=("$docroot" "${docroot_flags[@]}" --quiet "$site") ;;
        docroot-log) command=("$docroot" "${docroot_flags[@]}" "$site") ;;
        before) command=("$before" "${before_flags[@]}" --quiet "$site") ;;
        nginx)
            nginx_settings "" >"$temp/nginx.conf"
            command=(nginx -e "$temp/nginx.errors" -p "$temp" -c "$temp/nginx.conf")
            ;;
        nginx-cache)
            nginx_settings "open_file_cache max=$((files / 2)) inactive=1h;
                open_file_cache_valid 60s; open_file_cache_errors on;" >"$temp/nginx-cache.conf"
            command=(nginx -e "$temp/nginx.errors" -p "$temp" -c "$temp/nginx-cache.conf")
            ;;
        lighttpd)
            lighttpd_settings >"$temp/lighttpd.conf"
            command=(lighttpd -D -f "$temp/lighttpd.conf")
            ;;
        h2o)
            h2o_settings >"$temp/h2o.conf"
            command=(h2o -c "$temp/h2o.conf")
            ;;
    esac
}

# The flags of a docroot, which may be an older one. (Its `--min-rate` stays: it is a promise, and has its price.)
flags_of() {
    local help
    help=$("$1" --help)
    printf '%s\n' --bind 127.0.0.1 --port "$port" --idle-timeout 1h --max-connections "$((files / 2))"
    if [[ $help == *--workers* ]]; then
        printf '%s\n' --workers 1
    fi
}

nginx_settings() {
    cat <<END
worker_processes 1;
daemon off;
pid $temp/nginx.pid;
events { worker_connections $((files * 3 / 4)); }
http {
    types { text/html html; }
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    send_timeout 1h;
    $1
    server {
        listen 127.0.0.1:$port backlog=4096;
        root $site;
    }
}
END
}

lighttpd_settings() {
    cat <<END
server.document-root = "$site"
server.bind = "127.0.0.1"
server.port = $port
server.errorlog = "$temp/lighttpd.errors"
server.max-fds = $files
server.max-connections = $((files / 2))
server.listen-backlog = 4096
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 3600
server.max-read-idle = 3600
server.max-write-idle = 3600
mimetype.assign = ( ".html" => "text/html", "" => "application/octet-stream" )
END
}

h2o_settings() {
    cat <<END
num-threads: 1
max-connections: $((files / 2))
http1-request-timeout: 3600
listen:
  host: 127.0.0.1
  port: $port
hosts:
  default:
    paths:
      /:
        file.dir: $site
END
}
